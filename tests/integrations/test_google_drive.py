from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError

from app.engine.files import FileStore
from app.engine.memory import TaskMemory
from app.integrations.google_drive import (
    Account,
    Copy,
    Delete,
    Export,
    Find,
    Folder,
    Move,
    Named,
    Rename,
    Share,
    Upload,
    changed_file,
    check,
    copy,
    delete,
    download,
    export,
    find,
    make_folder,
    move,
    new_file,
    rename,
    share,
    upload,
)
from app.sdk.context import FileRef
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.google_sightings import WatchedFolder
from tests.integrations.conftest import NOW
from tests.providers import google as provider
from tests.providers.google_drive import FOLDER, ROOT, SCOPE, DriveApi
from tests.providers.http import Says

DOC = "application/vnd.google-apps.document"
SHEET = "application/vnd.google-apps.spreadsheet"
GONE = "1GoneGoneGoneGone"


@pytest.fixture
def api():
    return DriveApi()


@pytest.fixture
def google(api):
    with provider.google_server(api) as server:
        yield server


@pytest.fixture
def files(engine, world):
    return FileStore(engine.database, engine.writer, world.workspace.id)


@pytest.fixture
def drive_ctx(ctx, google, files, engine, world):
    memory = TaskMemory(engine.database, engine.writer, world.workspace.id, "tsk_1")
    return replace(ctx, base_url=google.url, files=files, memory=memory)


@pytest.fixture
def connection(google):
    return account(google, SCOPE)


def account(google, *scopes):
    access, refresh = google.sign_in(*scopes)
    return Account(
        client_id=provider.CLIENT_ID,
        client_secret=provider.CLIENT_SECRET,
        access_token=access,
        refresh_token=refresh,
        expires_at=NOW + timedelta(hours=1),
        granted=list(scopes),
    )


def content_of(files, ref):
    return b"".join(files.open(FileRef.model_validate(ref)))


# upload and download


def test_a_file_is_uploaded_and_downloaded_again(drive_ctx, connection, api, files, google):
    folder = api.add_folder("Invoices")
    ref = files.save("über.pdf", "application/pdf", [b"%PDF-1.7", b"\r\n"])

    stored = upload(drive_ctx, connection, Upload(file=ref, folder=folder.id))
    fetched = download(drive_ctx, connection, Named(file=stored["link"]))

    assert (stored["name"], stored["type"], stored["bytes"]) == ("über.pdf", "application/pdf", 10)
    assert stored["folder"] == folder.id
    assert content_of(files, fetched["file"]) == b"%PDF-1.7\r\n"
    assert fetched["file"]["sha256"] == ref.sha256
    assert [one.query["uploadType"] for one in google.received if one.path == "/upload/drive/v3/files"] == [
        ["resumable"]
    ]
    assert "gdcl/" in google.received[-1].headers["x-goog-api-client"]


def test_a_large_file_goes_in_parts(drive_ctx, connection, api, files, google):
    whole = bytes(range(256)) * 4096 * 9
    ref = files.save("big.bin", "application/octet-stream", [whole])

    upload(drive_ctx, connection, Upload(file=ref))

    assert api.named("big.bin").content == whole
    assert [one.headers["content-range"] for one in google.received if one.method == "PUT"] == [
        f"bytes 0-8388607/{len(whole)}",
        f"bytes 8388608-{len(whole) - 1}/{len(whole)}",
    ]


def test_an_empty_file_can_be_stored(drive_ctx, connection, api, files):
    upload(drive_ctx, connection, Upload(file=files.save("empty.txt", "text/plain", [])))

    assert api.named("empty.txt").content == b""


def test_an_upload_whose_answer_was_lost_makes_no_second_file(drive_ctx, connection, api, files):
    params = Upload(file=files.save("a.txt", "text/plain", [b"a"]))
    api.lose = 2  # the client sends a PUT again by itself

    with pytest.raises((TemporaryError, RejectedError)):
        upload(drive_ctx, connection, params)
    output = upload(drive_ctx, connection, params)

    assert output["id"] == api.named("a.txt").id


def test_what_is_too_large_is_not_downloaded(drive_ctx, connection, api, google):
    big = api.add("big.bin", b"x" * (25 * 1024 * 1024 + 1), type="application/octet-stream")

    with pytest.raises(RejectedError, match=r"big\.bin is larger than 25 MB"):
        download(drive_ctx, connection, Named(file=big.id))

    assert [call.params.get("alt") for call in google.calls] == ["json"]


def test_a_document_of_googles_is_exported_not_downloaded(drive_ctx, connection, api, files):
    doc, sheet = api.add("Letter", b"dear", type=DOC), api.add("Orders", b"a,b", type=SHEET)

    with pytest.raises(RejectedError, match="Letter is kept in google's own form; export it instead"):
        download(drive_ctx, connection, Named(file=doc.id))
    pdf = export(drive_ctx, connection, Export(file=doc.id))["file"]
    table = export(drive_ctx, connection, Export(file=sheet.id, form="csv"))["file"]

    assert (pdf["name"], pdf["type"]) == ("Letter.pdf", "application/pdf")
    assert content_of(files, table) == b"text/csv of a,b"


def test_what_cannot_be_exported_says_so(drive_ctx, connection, api):
    doc, plain = api.add("Letter", b"dear", type=DOC), api.add("a.txt", b"a")
    huge = api.add("Huge", b"x" * (10 * 1024 * 1024 + 1), type=DOC)

    with pytest.raises(RejectedError, match=r"the export of Letter as csv: .*not supported"):
        export(drive_ctx, connection, Export(file=doc.id, form="csv"))
    with pytest.raises(RejectedError, match=r"a\.txt is no document of google's; download it"):
        export(drive_ctx, connection, Export(file=plain.id))
    with pytest.raises(RejectedError, match="Huge is too large: google exports up to 10 MB"):
        export(drive_ctx, connection, Export(file=huge.id))


def test_a_full_drive_is_no_missing_folder(drive_ctx, connection, api, files):
    api.full = True

    with pytest.raises(RejectedError, match="the drive is full"):
        upload(drive_ctx, connection, Upload(file=files.save("a.txt", "text/plain", [b"a"])))


# copy, move, rename, folders


def test_a_file_is_copied(drive_ctx, connection, api):
    folder, doc = api.add_folder("Copies"), api.add("Template", b"dear", type=DOC)

    output = copy(drive_ctx, connection, Copy(file=doc.id, folder=folder.id, name="Letter to Ada"))

    assert output["folder"] == folder.id
    assert api.named("Letter to Ada").content == b"dear"
    assert api.named("Template").parents == [ROOT]


def test_a_file_is_moved_and_renamed_however_often(drive_ctx, connection, api):
    folder, file = api.add_folder("Done"), api.add("a.txt", b"a")

    for _ in range(2):
        move(drive_ctx, connection, Move(file=file.id, folder=folder.id))
        output = rename(drive_ctx, connection, Rename(file=file.id, name="b.txt"))

    assert (output["name"], output["folder"]) == ("b.txt", folder.id)
    assert (file.parents, file.content) == ([folder.id], b"a")


def test_what_is_no_folder_takes_no_files(drive_ctx, connection, api, files):
    file = api.add("a.txt", b"a")

    with pytest.raises(RejectedError, match=r"a\.txt is no folder; choose one"):
        move(drive_ctx, connection, Move(file=file.id, folder=file.id))
    with pytest.raises(RejectedError, match=r"a\.txt is no folder"):
        upload(drive_ctx, connection, Upload(file=files.save("b", "text/plain", [b"b"]), folder=file.id))


def test_a_folder_is_made_once(drive_ctx, connection, api):
    name = "Bob's \\ folder"

    first = make_folder(drive_ctx, connection, Folder(name=name))
    again = make_folder(drive_ctx, connection, Folder(name=name))

    assert (first["created"], again["created"]) == (True, False)
    assert first["id"] == again["id"] == api.named(name).id
    assert api.named(name).type == FOLDER


def test_a_folder_whose_answer_was_lost_is_not_made_twice(drive_ctx, connection, api):
    api.lose = 1

    with pytest.raises(TemporaryError):
        make_folder(drive_ctx, connection, Folder(name="Invoices"))
    output = make_folder(drive_ctx, connection, Folder(name="Invoices"))

    assert output["id"] == api.named("Invoices").id


# share, find, delete


def test_a_file_is_shared_and_nobody_is_told_unless_asked(drive_ctx, connection, api):
    file = api.add("a.txt", b"a")

    share(drive_ctx, connection, Share(file=file.id, email="Bob <bob@example.com>"))
    output = share(
        drive_ctx, connection, Share(file=file.id, email="eve@example.com", role="writer", notify=True)
    )

    assert output == {"shared_with": "eve@example.com", "role": "writer"}
    assert file.permissions[0] == {"type": "user", "role": "reader", "emailAddress": "bob@example.com"}
    assert api.mails == ["eve@example.com"]


def test_an_address_without_an_account_is_refused(drive_ctx, connection, api):
    with pytest.raises(RejectedError, match=r"the file a\.txt: .*no such account"):
        share(drive_ctx, connection, Share(file=api.add("a.txt").id, email="eve@nowhere.invalid"))


@pytest.mark.parametrize(
    "email", ["", "ada", "a@example.com, b@example.com", "a@example.com\r\nBcc: b@example.com"]
)
def test_what_is_no_address_is_refused_beside_its_field(email):
    with pytest.raises(ValidationError):
        Share(file=GONE, email=email)


def test_files_are_found_by_name(drive_ctx, connection, api):
    folder = api.add_folder("Invoices")
    api.add("invoice 1.pdf")
    last = api.add("invoice 2.pdf", folder=folder.id)
    api.add("invoice 3.pdf", trashed=True)

    everywhere = find(drive_ctx, connection, Find(name="invoice"))
    inside = find(drive_ctx, connection, Find(name="invoice 2.pdf", exactly=True, folder=folder.id))
    none = find(drive_ctx, connection, Find(name="bill"))

    assert [file["name"] for file in everywhere["files"]] == ["invoice 2.pdf", "invoice 1.pdf", "Invoices"]
    assert (inside["found"], inside["file"]["id"]) == (True, last.id)
    assert none == {"found": False, "file": None, "files": []}


@pytest.mark.parametrize(
    "name", ["x' or name != '", "\\", "\\'", "' and trashed = true and name = '", "a'b\\"]
)
def test_a_value_cannot_change_what_is_searched_for(drive_ctx, connection, api, name):
    api.add("secret.txt", trashed=True)
    api.add("other.txt")
    mine = api.add(name)

    found = find(drive_ctx, connection, Find(name=name, exactly=True))

    assert [file["id"] for file in found["files"]] == [mine.id]


def test_deleting_means_the_bin_unless_it_is_for_ever(drive_ctx, connection, api):
    one, other = api.add("a.txt"), api.add("b.txt")

    assert delete(drive_ctx, connection, Delete(file=one.id)) == {"deleted": "a.txt", "forever": False}
    delete(drive_ctx, connection, Delete(file=one.id))
    delete(drive_ctx, connection, Delete(file=other.id, forever=True))

    assert api.stored[one.id].trashed
    assert other.id not in api.stored
    with pytest.raises(RejectedError, match=r"a\.txt is in google's bin"):
        download(drive_ctx, connection, Named(file=one.id))


# what goes wrong


@pytest.mark.parametrize(
    "call",
    [
        lambda *at: download(*at, Named(file=GONE)),
        lambda *at: export(*at, Export(file=GONE)),
        lambda *at: copy(*at, Copy(file=GONE)),
        lambda *at: rename(*at, Rename(file=GONE, name="x")),
        lambda *at: move(*at, Move(file=GONE, folder="root")),
        lambda *at: move(*at, Move(file=GONE, folder=GONE)),
        lambda *at: share(*at, Share(file=GONE, email="ada@example.com")),
        lambda *at: delete(*at, Delete(file=GONE)),
        lambda *at: delete(*at, Delete(file=GONE, forever=True)),
        lambda *at: make_folder(*at, Folder(name="x", folder=GONE)),
        lambda *at: find(*at, Find(name="x", folder=GONE)),
        lambda *at: new_file(*at, WatchedFolder(folder=GONE), None, []),
    ],
)
def test_what_is_gone_is_named(drive_ctx, connection, call):
    with pytest.raises(RejectedError, match=f"google has no (file|folder) {GONE}; was it deleted or renamed"):
        call(drive_ctx, connection)


def test_what_may_only_be_read_is_named(drive_ctx, connection, api):
    file = api.add("a.txt", read_only=True)

    with pytest.raises(RejectedError, match=f"google does not let this account use the file {file.id}"):
        rename(drive_ctx, connection, Rename(file=file.id, name="b.txt"))


@pytest.mark.parametrize(
    "text", ["", "invoice.pdf", "https://evil.example/file/d/1a2B3c4D5e6F", "../../v4/x", "a' or"]
)
def test_what_is_no_file_is_refused_beside_its_field(text):
    with pytest.raises(ValidationError, match="must be the address of a file or folder"):
        Named(file=text)


@pytest.mark.parametrize(
    "address",
    [
        "https://drive.google.com/file/d/1a2B3c4D5e6F/view?usp=sharing",
        "https://drive.google.com/drive/u/0/folders/1a2B3c4D5e6F",
        "https://docs.google.com/document/d/1a2B3c4D5e6F/edit#heading=h.1",
        "https://drive.google.com/open?id=1a2B3c4D5e6F",
        " 1a2B3c4D5e6F ",
    ],
)
def test_a_file_is_known_by_its_address(address):
    assert Named(file=address).file == "1a2B3c4D5e6F"


@pytest.mark.parametrize(
    ("says", "sent"),
    [
        (provider.says_error(429, "rateLimitExceeded", "slow down", **{"Retry-After": "21"}), False),
        (provider.says_error(403, "userRateLimitExceeded", "slow down", **{"Retry-After": "21"}), False),
    ],
)
def test_a_quota_waits_as_long_as_google_says(drive_ctx, connection, google, says, sent):
    google.fail(says)

    with pytest.raises(TemporaryError) as failure:
        find(drive_ctx, connection, Find(name="x"))

    assert (failure.value.after, failure.value.sent) == (21, sent)


def test_a_copy_that_google_fails_at_may_be_there(drive_ctx, connection, api):
    file, api.lose = api.add("a.txt"), 1

    with pytest.raises(TemporaryError) as failure:
        copy(drive_ctx, connection, Copy(file=file.id))

    assert failure.value.sent is True


def test_what_fails_before_a_copy_has_done_nothing(drive_ctx, connection, api, google):
    file = api.add("a.txt")
    google.fail(Says(503))

    with pytest.raises(TemporaryError) as failure:
        copy(drive_ctx, connection, Copy(file=file.id))

    assert failure.value.sent is False


def test_a_withdrawn_access_names_the_mend(drive_ctx, connection, google):
    google.revoke()

    with pytest.raises(AuthError, match="connect it again"):
        find(drive_ctx, connection, Find(name="x"))


def test_a_missing_scope_names_itself(drive_ctx, google):
    with pytest.raises(AuthError, match="auth/drive"):
        check(drive_ctx, account(google, "https://www.googleapis.com/auth/spreadsheets"))


def test_a_check_says_whose_drive_it_is(drive_ctx, connection, google):
    robot = Account(method="service_account", service_account_key=provider.service_account_key())

    assert check(drive_ctx, connection) == f"connected to the drive of {provider.PERSON}"
    assert provider.ROBOT in check(drive_ctx, robot)
    assert {call.method for call in google.calls} == {"drive.about.get"}


# triggers


@pytest.fixture
def folder(api):
    folder = api.add_folder("Inbox")
    api.add("old.txt", b"old", folder=folder.id)
    return folder


def looks(trigger, ctx, connection, params):
    """Gives the names found at each further look."""
    state = [None, []]

    def look():
        batch = trigger(ctx, connection, params, *state)
        state[:] = batch.cursor, batch.recent_keys
        return [one.data["name"] for one in batch.occurrences]

    return look


def test_a_new_file_is_found_once_uploaded_or_moved(drive_ctx, connection, api, folder):
    look = looks(new_file, drive_ctx, connection, WatchedFolder(folder=folder.id))
    assert look() == []

    api.add("new.txt", b"new", folder=folder.id)
    moved = api.add("moved.txt", b"moved")
    moved.parents = [folder.id]
    api.add("elsewhere.txt")
    api.add_folder("Inside", folder.id)

    assert look() == ["new.txt", "moved.txt"]
    api.write(moved, b"changed")
    assert look() == []


def test_the_first_look_takes_the_last_files_when_asked(drive_ctx, connection, api, folder):
    api.add("newer.txt", folder=folder.id)
    api.add("newest.txt", folder=folder.id)
    look = looks(new_file, drive_ctx, connection, WatchedFolder(folder=folder.id, first=2))

    assert look() == ["newer.txt", "newest.txt"]
    assert look() == []


def test_a_file_that_a_listing_misses_once_is_not_new_again(drive_ctx, connection, api, folder):
    look = looks(new_file, drive_ctx, connection, WatchedFolder(folder=folder.id))
    look()

    old = api.stored.pop(api.named("old.txt").id)
    assert look() == []
    api.stored[old.id] = old
    assert look() == []


def test_only_files_with_such_a_name_count(drive_ctx, connection, api, folder):
    look = looks(new_file, drive_ctx, connection, WatchedFolder(folder=folder.id, name=".PDF"))
    look()

    api.add("a.pdf", folder=folder.id)
    api.add("a.txt", folder=folder.id)

    assert look() == ["a.pdf"]


def test_many_new_files_come_in_several_looks_and_none_is_lost(drive_ctx, connection, api, folder):
    look = looks(new_file, drive_ctx, connection, WatchedFolder(folder=folder.id))
    look()
    for number in range(150):
        api.add(f"{number:03d}.txt", folder=folder.id)

    found = [look() for _ in range(3)]

    assert [len(names) for names in found] == [100, 50, 0]
    assert found[0] + found[1] == [f"{number:03d}.txt" for number in range(150)]


def test_a_changed_file_is_found_for_each_version_and_a_new_one_is_not(drive_ctx, connection, api, folder):
    look = looks(changed_file, drive_ctx, connection, WatchedFolder(folder=folder.id))
    assert look() == []
    file = api.named("old.txt")

    api.add("new.txt", b"new", folder=folder.id)
    assert look() == []
    api.write(file, b"1")
    assert look() == ["old.txt"]
    assert look() == []
    api.write(file, b"2")
    # Programs that sync keep the date that the file has on their disk.
    file.modified_at -= timedelta(days=30)
    assert look() == ["old.txt"]
    file.name = "renamed.txt"
    assert look() == ["renamed.txt"]


def test_the_same_look_gives_the_same_keys(drive_ctx, connection, api, folder):
    params = WatchedFolder(folder=folder.id)
    before = new_file(drive_ctx, connection, params, None, [])
    api.add("new.txt", folder=folder.id)

    one, other = (
        new_file(drive_ctx, connection, params, before.cursor, before.recent_keys) for _ in range(2)
    )

    assert [found.key for found in one.occurrences] == [found.key for found in other.occurrences] != []


def test_a_watched_folder_in_the_bin_says_so(drive_ctx, connection, folder):
    folder.trashed = True

    with pytest.raises(RejectedError, match="Inbox is in google's bin"):
        new_file(drive_ctx, connection, WatchedFolder(folder=folder.id), None, [])


# the stand-in refuses what google refuses


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/files?q=name+is+'x'", None, 400),
        ("GET", "/files?q=name+%3D+'it's'", None, 400),
        ("GET", "/files?pageSize=many", None, 400),
        ("GET", "/files?colour=red", None, 400),
        ("POST", "/files", {"naem": "x"}, 400),
        ("POST", "/files", {"name": 5}, 400),
        ("POST", "/files", {"name": "x", "size": "5"}, 403),
        ("POST", "/files", {"name": "x", "id": "1MadeUpMadeUp"}, 400),
        ("POST", f"/files/{ROOT}/permissions", {"role": "reader"}, 400),
        ("GET", f"/files/{ROOT}/export", None, 400),
        ("GET", "/about", None, 400),
        ("GET", f"/files/{GONE}", None, 404),
    ],
)
def test_the_stand_in_refuses_what_the_discovery_document_or_google_refuses(
    drive_ctx, connection, google, api, method, path, body, status
):
    count = len(api.stored)
    sent = {"json": body} if body is not None else {}
    headers = {"Authorization": f"Bearer {connection.access_token.get_secret_value()}"}

    answer = drive_ctx.http.request(method, f"{google.url}/drive/v3{path}", headers=headers, **sent)

    assert answer.status == status
    assert answer.json()["error"]["code"] == status
    assert len(api.stored) == count


def test_the_stand_in_refuses_a_stranger(drive_ctx):
    stranger = Account(
        client_id="x",
        client_secret="y",
        access_token=SecretStr("guessed"),
        expires_at=NOW + timedelta(hours=1),
    )

    with pytest.raises(AuthError):
        check(drive_ctx, stranger)
