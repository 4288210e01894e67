"""A Flower grid inside one process: many sites without servers, and every byte is counted.

The ServerApp and ClientApp that run here are those of a deployment. Each message is serialised to
Flower's wire format and read back, so nothing is shared by reference, and what leaves a site can be
looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import Context, Error, Message, RecordDict, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from core_model.protocol.records import read_records, write_records
from core_model.protocol.weight_records import INDEX, NAMES, index_of

CLIENT_APP_RAISED = 2  # Flower's error code


@dataclass(frozen=True)
class Crossing:
    """One message that went from a site to the server."""

    node_id: int
    message_type: str
    num_bytes: int
    arrays: tuple[str, ...]  # names of all weights in it
    fields: tuple[str, ...]  # names of everything else
    raw: bytes


class InProcessGrid(Grid):
    """Hands messages to the sites one after another, in the order of their node numbers.

    Args:
        client_app: The app of every site.
        nodes: Node configuration of each node.
        keep_raw: Keep the bytes of every crossing, for tests.
    """

    def __init__(
        self,
        client_app: ClientApp,
        nodes: Mapping[int, Mapping[str, UserConfigValue]],
        *,
        keep_raw: bool = False,
    ) -> None:
        # Flower stamps messages with the identity of the process; there is none outside a run.
        TaskIdentity._run_id = TaskIdentity._node_id = TaskIdentity._task_id = 1
        self._client_app = client_app
        self._contexts = {
            node: Context(
                run_id=1, node_id=node, node_config=dict(config), state=RecordDict(), run_config={}
            )
            for node, config in nodes.items()
        }
        self._numbers = itertools.count(1)
        self._replies: dict[str, Message] = {}
        self._keep_raw = keep_raw
        self.crossings: list[Crossing] = []
        self._run: Run | None = None

    def set_run(self, run: Run) -> None:
        """Keep the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that was set."""
        assert self._run is not None, "no run was set"
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return all nodes."""
        return sorted(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Run each message at its node; replies wait to be pulled."""
        ids = []
        for message in messages:
            number = f"m{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = number
            self._replies[number] = self._deliver(message)
            ids.append(number)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there."""
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002
    ) -> list[Message]:
        """Push and pull."""
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> Message:
        """Return the reply as it arrives at the server."""
        node = message.metadata.dst_node_id
        message.content = read_records(write_records(message.content))
        try:
            reply = self._client_app(message, self._contexts[node])
        except Exception as e:  # noqa: BLE001 - as Flower's own runtime does, text and all
            reason = f"{type(e)}:<'{e}'>"
            self._note(node, message.metadata.message_type, RecordDict(), reason.encode())
            return Message(Error(CLIENT_APP_RAISED, reason), reply_to=message)
        raw = write_records(reply.content)
        reply.content = read_records(raw)
        self._note(node, message.metadata.message_type, reply.content, raw)
        return reply

    def _note(self, node: int, message_type: str, content: RecordDict, raw: bytes) -> None:
        weights = index_of(content) if INDEX in content else {}
        packed = NAMES if weights else frozenset()
        arrays = [
            *weights,
            *(n for k, r in content.array_records.items() if k not in packed for n in r),
        ]
        fields = [n for k, r in content.config_records.items() if k not in packed for n in r]
        fields += [n for r in content.metric_records.values() for n in r]
        self.crossings.append(
            Crossing(
                node_id=node,
                message_type=message_type,
                num_bytes=len(raw),
                arrays=tuple(arrays),
                fields=tuple(fields),
                raw=raw if self._keep_raw else b"",
            )
        )
