"""A node that speaks Flower's fleet calls itself and answers as it likes: no SuperNode, no bundle.

What it sends comes through the proxy, over TLS, signed with a key that is let in. In a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

HEARTBEAT_S = 600.0
_SENDING = threading.Lock()
Answer = Callable[[Message], RecordDict]


def fleet_client(address: str, ca: Path, key: ec.EllipticCurvePrivateKey) -> FleetHttpClient:
    """Return a client as a SuperNode has one."""
    interceptors = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
    ]
    return FleetHttpClient.from_server_address(address, False, ca.read_bytes(), interceptors)


class RogueNode:
    """Waits for the server, then answers each message by ``answer`` until it is stopped."""

    def __init__(
        self, address: str, ca: Path, key: ec.EllipticCurvePrivateKey, answer: Answer
    ) -> None:
        self._client = fleet_client(address, ca, key)
        self._public = public_key_to_bytes(key.public_key())
        self._answer = answer
        self._is_over = threading.Event()
        self.faults: list[Exception] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._is_over.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        node: Node | None = None
        while not self._is_over.wait(0.5):
            try:
                if node is None:
                    request = ActivateNodeRequest(
                        public_key=self._public, heartbeat_interval=HEARTBEAT_S
                    )
                    node = Node(node_id=self._client.ActivateNode(request).node_id)
                self._take_one(node)
            except httpx.HTTPError:  # the server is not up yet, or not any more
                continue
            except Exception as e:  # noqa: BLE001 - shown by the test
                self.faults.append(e)

    def _take_one(self, node: Node) -> None:
        pulled = self._client.PullMessages(PullMessagesRequest(node=node))
        if not pulled.messages_list:
            return
        tree = pulled.message_object_trees[0]
        run_id = message_from_proto(pulled.messages_list[0]).metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._client.PullObject, node, run_id),
            make_confirm_message_received_fn_protobuf(
                self._client.ConfirmMessageReceived, node, run_id
            ),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        content = self._answer(message)
        with _SENDING:  # Flower stamps messages with the identity of the process
            TaskIdentity.run_id, TaskIdentity.node_id = run_id, node.node_id
            TaskIdentity.task_id = 1
            reply = Message(content, reply_to=message)
        self._push(node, run_id, reply)

    def _push(self, node: Node, run_id: int, reply: Message) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        bare = message_to_proto(remove_content_from_message(reply))
        with no_object_id_recompute():
            request = PushMessagesRequest(
                node=node,
                messages_list=[bare],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[1.0],
            )
            answer = self._client.PushMessages(request)
            push = make_push_object_fn_protobuf(
                self._client.PushObject, node, run_id, answer.session_id
            )
            push_objects(
                get_all_nested_objects(reply),
                push,
                object_ids_to_push=set(answer.objects_to_push),
            )
