import json

import pytest

from consent.desk.accounts import Accounts, add_account, remove_account
from consent.errors import AccountsError

PASSWORD = "correct horse battery"


@pytest.fixture
def path(tmp_path):
    add_account(tmp_path / "accounts.json", "hanako", PASSWORD)
    return tmp_path / "accounts.json"


def test_only_the_owner_can_read_the_file_and_it_holds_no_password(path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    add_account(path, "jiro", PASSWORD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    hashes = json.loads(path.read_text())["accounts"].values()
    assert all(h.startswith("$argon2id$") for h in hashes)
    assert len(set(hashes)) == 2  # salted


@pytest.mark.parametrize(
    ("name", "password", "want"),
    [
        ("hanako", PASSWORD, True),
        ("hanako", PASSWORD + " ", False),
        ("hanako", "", False),
        ("Hanako", PASSWORD, False),
        ("nobody", PASSWORD, False),
    ],
)
def test_name_and_password_must_both_be_right(path, name, password, want) -> None:
    assert Accounts(path).is_right(name, password) is want


def test_a_file_that_others_can_read_is_refused(path) -> None:
    path.chmod(0o640)
    with pytest.raises(AccountsError, match="chmod 600"):
        Accounts(path)


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("hanako", PASSWORD, "such an account"),
        ("../jiro", PASSWORD, "letters, digits"),
        ("", PASSWORD, "letters, digits"),
        ("jiro", "elevenchars", "12 to 1024"),
        ("jiro", "x" * 1025, "12 to 1024"),
    ],
)
def test_an_account_that_cannot_be_added_changes_nothing(path, name, password, why) -> None:
    before = path.read_bytes()
    with pytest.raises(AccountsError, match=why):
        add_account(path, name, password)
    assert path.read_bytes() == before


def test_a_new_password_takes_the_place_of_the_old_one(path) -> None:
    add_account(path, "hanako", "another password", replace=True)
    accounts = Accounts(path)
    assert not accounts.is_right("hanako", PASSWORD)
    assert accounts.is_right("hanako", "another password")


def test_a_removed_account_is_gone_at_once(path) -> None:
    accounts = Accounts(path)
    remove_account(path, "hanako")
    assert not accounts.is_right("hanako", PASSWORD)
    with pytest.raises(AccountsError):
        remove_account(path, "hanako")


def test_an_error_about_a_broken_file_does_not_show_it(path) -> None:
    path.write_text('{"accounts": {"hanako": "planted-hash", "x": 7}}')
    with pytest.raises(AccountsError) as raised:
        Accounts(path)
    assert "planted" not in str(raised.value) + str(raised.value.__cause__)
