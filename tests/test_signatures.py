"""Error texts grouped, and secrets masked: each kind of secret by name, hostile payloads, counts by hand."""

import json
import time
from datetime import timedelta

import pytest
from conftest import some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import NOON, events_frame

from vpanalysis.analysis.signatures import error_text, group_signatures, mask_secrets, normalise

FALLBACK, FAILED = "vp.mission.fallback", "vp.mission.failed"


def fallback(text, mission="m1", second=0, event_type=FALLBACK):
    return (mission, event_type, NOON + timedelta(seconds=second), json.dumps({"error": text}))


# -- masking -----------------------------------------------------------------------------------------------------

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SECRETS = [
    # text, and each part of it that must not be seen
    ("key sk-abcdef0123456789abcdef refused", ["abcdef0123456789abcdef"]),
    ("sk-proj-Ab_Cd-1234567890 and sk-ant-api03-xyzxyzxyz", ["Ab_Cd-1234567890", "xyzxyzxyz"]),
    ("pushed with ghp_16C7e42F292c6912E7710c838347Ae178B4a", ["16C7e42F292c6912E7710c838347Ae178B4a"]),
    ("github_pat_11ABCDEFG0aBcDeFgHiJ_klmnop", ["11ABCDEFG0aBcDeFgHiJ_klmnop"]),
    ("slack xoxb-123456789012-abcdefGHIJKL", ["123456789012-abcdefGHIJKL"]),
    ("aws AKIAIOSFODNN7EXAMPLE denied", ["IOSFODNN7EXAMPLE"]),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ["wJalrXUtnFEMI", "K7MDENG", "bPxRfi"]),
    ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY was rotated", ["wJalrXUtnFEMI", "bPxRfi"]),
    (f"session {JWT} expired", [JWT[8:30], "dozjgNryP4J3"]),
    ("glpat-abcDEF123456_x", ["abcDEF123456"]),
    ("hf_abcdefghijklmnop", ["abcdefghijklmnop"]),
    ("AIzaSyA1234567890abcdefghijklmnopqrstu", ["SyA1234567890"]),
    ("bot 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1 down", ["AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"]),
    ("Authorization: Bearer abc.def.ghi", ["abc.def.ghi"]),
    ("401 (Authorization: Bearer s3cr3t-t0k3n)", ["s3cr3t-t0k3n"]),
    ("{'Authorization': 'Basic dXNlcjpwYXNz', 'Accept': '*/*'}", ["dXNlcjpwYXNz"]),
    ('headers={"authorization": "Token 9944b09199c62bcf"}', ["9944b09199c62bcf"]),
    ("authorization=opaquevalue", ["opaquevalue"]),
    ("sent bearer hunter2", ["hunter2"]),
    ("BEARER\tABCDEF", ["ABCDEF"]),
    ("curl -u x -H Basic dXNlcjpwYXNz", ["dXNlcjpwYXNz"]),
    ("x-ua-ops-token: opstoken-value", ["opstoken-value"]),
    ("UA_OPS_TOKEN=abc123", ["abc123"]),
    ("api_key=abc", ["=abc"]),
    ('{"api_key": "abc def", "model": "m"}', ["abc def"]),
    ('{"apiKey":"k9"}', ["k9"]),
    ("API key: zzz-topsecret", ["zzz-topsecret"]),
    ("Incorrect API key provided: mykey1234", ["mykey1234"]),
    ("password=hunter2", ["hunter2"]),
    ("password: correct horse", ["correct"]),
    ("DB_PASSWORD='it is \\'quoted\\' so'", ["quoted", "it is", "so'"]),
    ('password="never closed and long', ["never", "closed", "long"]),
    ('{\\"password\\": \\"escaped\\"}', ["escaped"]),
    ("pwd := s3cr3t", ["s3cr3t"]),
    ("client_secret => topsecret", ["topsecret"]),
    ("passphrase is opensesame1", ["opensesame1"]),
    ("invalid token 'abcd-efgh'", ["abcd-efgh"]),
    ("secrets: ['one', 'two']", ["one", "two"]),
    ("run --ops-token abc --verbose", ["abc"]),
    ("run --password=letmein now", ["letmein"]),
    ("GET /v1?access_token=abcdef&page=2 failed", ["abcdef"]),
    ("postgres://user:p@ss/w:rd@db:5432/x refused", ["p@ss", "w:rd", "user:"]),
    ("redis://:hunter2@cache", ["hunter2"]),
    ("https://ghuser:tok@github.com/x.git", ["tok@"]),
    ("Cookie: sid=abc; csrftoken=def", ["abc", "def"]),
    ("set-cookie: id=zzz", ["zzz"]),
    ("posted to https://hooks.slack.com/services/T00/B00/XXXX", ["T00", "XXXX"]),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY----- tail", ["MIIEow", "IBAAKC"]),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", ["b3BlbnNzaC1rZXk"]),
    ("digest 9f86d081884c7d659a2feaa0c55ad015 leaked", ["9f86d081884c7d659a2feaa0c55ad015"]),
    ("sk-abc\u200bdef\u202e0123456789", ["def", "0123456789"]),  # invisible characters do not hide it
    ("api_\x00key=abcdef", ["abcdef"]),
]


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
def test_no_part_of_a_secret_is_left(text, parts):
    masked = mask_secrets(text)
    assert "[secret]" in masked
    for part in parts:
        assert part not in masked


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
@pytest.mark.parametrize("around", ["{}", "Error 5: {}", 'x = "{}"', "({}) then", "😀 {}\nnext line"])
def test_no_part_of_a_secret_is_left_wherever_it_stands(text, parts, around):
    masked = mask_secrets(around.format(text))
    for part in parts:
        assert part not in masked
    assert mask_secrets(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "ConnectionError: adapter socket /tmp/vp/902c.sock refused after 8 attempts",
        "HTTPError: 401 Unauthorized for request 9492",
        "TimeoutError: no output from worker-8 for 30.0 s (pid 9999, log /srv/vp/jobs/3c275078/run.log)",
        "AssertionError: 3 of 120 tests failed",
        "Bearer token missing",
        "Bearer authentication failed",
        "Basic authentication failed",
        "max_tokens=60000, total_tokens: 512",
        "task-management tokenless",
        "mission 123e4567-e89b-12d3-a456-426614174000 at 2026-02-16T14:07:42.123456+00:00",
        "Ünïcödé ошибка 错误 😀",
        "Fix the upload retry loop",
        "user@example.com said no",
        "see https://example.com/docs?page=2",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text):
    assert mask_secrets(text) == text


def test_long_text_is_cut_at_a_blank_so_that_no_half_of_a_secret_is_left():
    for padding in range(3960, 4010):
        masked = mask_secrets("kept " + "x" * padding + " token=abcdefghijklmnopqrstuvwxyz and more")
        assert "abcdef" not in masked
        assert len(masked) < 4050
        assert masked.startswith("kept ")
    assert mask_secrets("sk-" + "a1" * 4000) == "…"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_known_token_is_masked_in_any_surroundings(before, after):
    masked = mask_secrets(f"{before} sk-Zz9Zz9Zz9Zz9Zz9Zz9 {after}")
    assert "Zz9Zz9" not in masked


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab0'\"\\ =:/@.-[]{}()&\n_#%+,;😀\u200b\x00", max_size=300))
def test_masking_and_grouping_take_any_text(text):
    masked = mask_secrets(text)
    signature = normalise(masked)
    assert len(signature) <= 160
    assert "\n" not in signature
    assert masked == text or "\x00" not in masked
    assert "\x00" not in signature


# -- signatures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "signature"),
    [
        ("refused after 3 attempts", "refused after 12 attempts", "refused after # attempts"),
        ("waited 30.0 s", "waited -1.25e s", None),
        ("request req_2c44ab3d9921 lost", "request req_95e4b6d46e4d lost", "request req_# lost"),
        ("worker-7 died", "worker-12 died", "worker-# died"),
        ("run d02d20fc", "run 12345678", "run #"),
        ("at 0xDEADBEEF", "at 0x1f", "at #"),
        ("id deadbeefcafe", "id abcdefabcdef", "id #"),
        ("tag ab12", "tag cd99", "tag #"),
        (
            "mission 123e4567-e89b-12d3-a456-426614174000",
            "mission abcdefab-cdef-abcd-efab-abcdefabcdef",
            "mission #",
        ),
        ("at 2026-02-16T14:07:42.123456+00:00", "at 2026-03-01 01:02:03Z", None),
        ("open /srv/vp/a.py: denied", "open ./b/c.txt: denied", "open [path]: denied"),
        ("open C:\\Users\\x\\a.txt", "open D:\\b", "open [path]"),
        ("read src/vp/main.py", "read lib/other/x.py", "read [path]"),
        ("No module named 'vp_plugin_2c44'", 'No module named "numpy"', "No module named '…'"),
        ("GET https://a.example/x?y=1 failed", "GET http://10.0.0.1:8002/z failed", "GET [url] failed"),
        ("connect 10.0.0.1:8002", "connect 192.168.1.20:80", "connect #"),
        ("3 of 120 tests failed", "12 of 99 tests failed", "# of # tests failed"),
        ("login with password=aa1", "login with password=bb22", "login with password=[secret]"),
        ("two\nlines   of 5", "two lines of\t6", "two lines of #"),
    ],
)
def test_texts_that_differ_in_ids_share_a_signature(one, other, signature):
    events = events_frame([fallback(one), fallback(other, "m2", 1)])
    if signature is not None:
        [group] = group_signatures(events)
        assert (group.signature, group.count, group.missions) == (signature, 2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ConnectionError: refused", "TimeoutError: refused"),
        ("can't open it", "can't close it"),
        ("utf8 failed", "ascii failed"),
        ("read and/or write", "read or write"),
    ],
)
def test_texts_that_differ_in_words_do_not(one, other):
    assert len(group_signatures(events_frame([fallback(one), fallback(other)]))) == 2


#: Texts and their signatures: the code that names the cause stays, what differs from case to case goes.
CODES = [
    # HTTP
    ("HTTP 401", "HTTP 401"),
    ("HTTP401 on port 8002", "HTTP401 on port #"),
    ("HTTPError: 401 for request 88231", "HTTPError: 401 for request #"),
    ("HTTPStatusError 503, request 7", "HTTPStatusError 503, request #"),
    ("HTTP/1.1 429 Too Many Requests", "HTTP/1.1 429 Too Many Requests"),
    ("502 Bad Gateway after 31 s", "502 Bad Gateway after # s"),
    ("504 Gateway Time-out", "504 Gateway Time-out"),
    ("404 Client Error: no job 12", "404 Client Error: no job #"),
    ("status 503, retry 4", "status 503, retry #"),
    ("status code 429 in 31 ms", "status code 429 in # ms"),
    ("statusCode: 503", "statusCode: 503"),
    ("API Error: 529 {}", "API Error: 529 {}"),
    ("git: returned error: 403", "git: returned error: 403"),
    ("upstream returned 503 for request 12", "upstream returned 503 for request #"),
    ("401: no such key", "401: no such key"),
    # exits and signals
    ("ended with exit code 137 at step 3", "ended with exit code 137 at step #"),
    ("worker3 exited with 2", "worker# exited with 2"),
    ("exited (137) 5 minutes ago", "exited (137) # minutes ago"),
    ("exit status 3", "exit status 3"),
    ("pid 4711 returned non-zero exit status 1.", "pid # returned non-zero exit status 1."),
    ("exit code -9", "exit code -9"),
    ("exit code 0xC0000005 at 0xDEADBEEF", "exit code 0xC0000005 at #"),
    ("exit code was 3", "exit code was 3"),
    ("137", "137"),
    ("job 12 killed by signal 9", "job # killed by signal 9"),
    ("pid 12: SIGKILL", "pid #: SIGKILL"),
    ("pid 12: SIGUSR1", "pid #: SIGUSR1"),
    # errno values and codes of other programs
    ("[Errno 111] Connection refused", "[Errno 111] Connection refused"),
    ("errno=28 after 12 bytes", "errno=28 after # bytes"),
    ("errno -4077", "errno -4077"),
    ("Connection refused (os error 111)", "Connection refused (os error 111)"),
    ("[WinError 10061] refused 3 times", "[WinError 10061] refused # times"),
    ("read ECONNRESET 10.0.0.1:80", "read ECONNRESET #"),
    ("{ code: 'UND_ERR_CONNECT_TIMEOUT', host: 'a1' }", "{ code: 'UND_ERR_CONNECT_TIMEOUT', host: '…' }"),
    ("{ code: 'ECONNRESET', id: 12 }", "{ code: 'ECONNRESET', id: # }"),
    ("MCP error -32001: request 12", "MCP error -32001: request #"),
    ("error code 1045", "error code 1045"),
    ("ERROR 1045 (28000): 12 tries", "ERROR 1045 (28000): # tries"),
    ("SQLSTATE[23505] in row 12", "SQLSTATE[23505] in row #"),
    ("SQLITE_BUSY after 12 tries", "SQLITE_BUSY after # tries"),
    ("E11000 duplicate key 12", "E11000 duplicate key #"),
    ("ORA-00001: row 12", "ORA-00001: row #"),
    ("a.ts(12,5): TS2304", "a.ts(#): TS2304"),
    ("npm code E404", "npm code E404"),
    ("error[E0382]: line 12", "error[E0382]: line #"),
    ("S3UploadFailedError: part 12", "S3UploadFailedError: part #"),
    # in JSON and in quotes
    ('{"status_code": "503", "id": "req_88231"}', "{\"status_code\": \"503\", '…': '…'}"),
    ("{'code': 5, 'id': 12}", "{'code': 5, '…': #}"),
    ('{"errno": 111}', '{"errno": 111}'),
    ("HTTPError('401 Client Error: job 12')", "HTTPError('401 Client Error …')"),
    ("'status 503 for job 12' in 'x'", "'status 503 …' in '…'"),
    ("NewError('<x at 0x7f>: [Errno 111] refused')", "NewError('Errno 111 …')"),
    # no codes
    ("exit code 88231", "exit code #"),
    ("status code 4211", "status code #"),
    ("error code 88231", "error code #"),
    ("HTTP 8080", "HTTP #"),
    ("error 88231", "error #"),
    ("status 2026-02-16", "status #"),
    ("code 123e4567-e89b-12d3-a456-426614174000", "code #"),
    ("code 401,000", "code #"),
    ("status 50%", "status #%"),
    ("error 3 of 7", "error # of #"),
    ("exited 3 times", "exited # times"),
    ("exited with 2 warnings", "exited with # warnings"),
    ("exit 30 s late", "exit # s late"),
    ("Error: 3 tests failed", "Error: # tests failed"),
    ("Error: 404 tests failed", "Error: # tests failed"),
    ("returned 503 rows", "returned # rows"),
    ("mission 404 lost on line 500", "mission # lost on line #"),
    ("mission 512 not found", "mission # not found"),
    ("waited 401 ms", "waited # ms"),
    ("postcode 123, barcode 'a_b'", "postcode #, barcode '…'"),
    ("PROJ-401 and tag E404", "PROJ-# and tag #"),
    ("status of PR123", "status of PR#"),
    ("GET https://a.example/status/404", "GET [url]"),
    ("open /srv/exit code/1", "open [path] code/#"),
]


@pytest.mark.parametrize(("text", "signature"), CODES, ids=[text for text, _ in CODES])
def test_signature_keeps_codes_and_hides_ids(text, signature):
    assert mask_secrets(text) == text
    assert normalise(text) == signature


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 401", "HTTP 500"),
        ("HTTPError: 401 for request 1", "HTTPError: 403 for request 1"),
        ("HTTP/1.1 429 Too Many Requests", "HTTP/1.1 431 Too Many Requests"),
        ("status 503", "status 504"),
        ("exit code 137", "exit code 1"),
        ("exited with 2", "exited with 3"),
        ("killed by signal 9", "killed by signal 15"),
        ("[Errno 111] failed", "[Errno 104] failed"),
        ("ORA-00001: failed", "ORA-00060: failed"),
        ("Http2StreamError: failed", "S3UploadFailedError: failed"),
        ("RuntimeError('HTTP 401')", "RuntimeError('HTTP 500')"),
    ],
)
def test_two_codes_are_two_signatures_whatever_the_ids(one, other):
    texts = [f"{text} (job {job}, pid {job}77, /srv/{job}/x)" for text in (one, other) for job in (5, 88231)]
    groups = group_signatures(events_frame([fallback(text) for text in texts]))
    assert [group.count for group in groups] == [2, 2]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 999), st.integers(0), st.uuids())
def test_exit_code_is_kept_and_any_id_hidden(code, number, uuid):
    assert normalise(f"job {number} of run {uuid}: exit code {code}") == f"job # of run #: exit code {code}"


@pytest.mark.parametrize(
    "part",
    some_of([
        *("code ", "code:", "code: 'a_", "'code' ", '"code": ', '"', "'", "error: ", "errorerror", "http"),
        *("HTTPError ", "exited with 1 aaaaaaaaaaaaaaaaaaaas ", "status_code_", "returned 404 ", "404 ", "4", "-", " "),
    ], 4),
)  # fmt: skip
def test_signature_of_a_long_text_takes_linear_time(part):
    begin = time.perf_counter()
    normalise((part * 100_000)[:100_000])
    assert time.perf_counter() - begin < 3  # some 0.1 s; quadratic would be minutes


def test_groups_are_counted_by_hand():
    events = events_frame(
        [
            fallback("socket 1 refused", "m1", 0),
            fallback("socket 2 refused", "m1", 5),
            fallback("socket 3 refused", "m2", 9),
            fallback("socket 4 refused", "m3", 3, FAILED),
            fallback("lease lost", "m4", 1),
            ("m4", "vp.mission.completed", NOON, '{"error": "not one of them"}'),
            ("m5", "vp.mission.fallback", None, '{"reason": "lease lost"}'),
            ("", "vp.mission.fallback", NOON + timedelta(seconds=20), '{"error": "lease lost"}'),
        ]
    )
    first, second, third = group_signatures(events)
    assert (first.kind, first.signature, first.count, first.missions) == ("fallback", "lease lost", 3, 2)
    assert (first.first_seen, first.last_seen) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=20))
    assert first.example_mission == "m5"  # the newest that names one
    assert (second.kind, second.signature, second.count, second.missions) == ("fallback", "socket # refused", 3, 2)
    assert (second.first_seen, second.last_seen) == (NOON, NOON + timedelta(seconds=9))
    assert (second.example_mission, second.example) == ("m2", "socket 3 refused")
    assert (third.kind, third.count, third.example_mission) == ("failure", 1, "m3")


def test_signature_without_any_readable_time_or_mission():
    [group] = group_signatures(events_frame([(None, FALLBACK, None, '{"error": "x"}')]))
    assert (group.first_seen, group.last_seen, group.example_mission, group.missions) == (None, None, None, 0)


@pytest.mark.parametrize("events", [None, events_frame()])
def test_no_events_give_no_signatures(events):
    assert group_signatures(events) == ()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (None, "(no payload)"),
        (float("nan"), "(no payload)"),
        ("", "(no payload)"),
        ("  ", "(no payload)"),
        ('{"error": "cut o', "(payload is not JSON)"),
        ("NaN", "(payload is not JSON)"),
        ("[1, 2]", "(payload is no object)"),
        ('"text"', "(payload is no object)"),
        ("{}", "(no error given)"),
        ('{"error": null, "reason": ""}', "(no error given)"),
        ('{"error": "", "reason": "lease_lost"}', "lease_lost"),
        ('{"error": "E", "reason": "R"}', "E"),
        ('{"reason": "R"}', "R"),
        ('{"error": {"code": 5, "message": "deep"}}', "deep"),
        ('{"error": {"error": {"detail": "deeper"}}}', "deeper"),
        ('{"error": {"code": 5}}', '{"code": 5}'),
        ('{"error": ["a", 1]}', '["a", 1]'),
        ('{"error": []}', "(no error given)"),
        ('{"error": 137}', "137"),
        ('{"error": true}', "true"),
        ('{"error": "Traceback (most recent call last):\\n  File x\\nValueError: bad"}', "ValueError: bad"),
        ('{"error": "a\\u0000b\\u202ec"}', "a\x00b\u202ec"),
        ('{"error": "a\\u0000b, token: \\u202ec"}', "ab, token: [secret]"),
        ('{"error": "\\ud83d\\ude00 oops"}', "😀 oops"),
        ('{"error": "\\ud83d oops"}', "? oops"),
        ('{"error": "one\\n\\ntwo"}', "one two"),
        ('{"error": {"message": {"api_key": "k1"}}}', '{"api_key": [secret]}'),
        ('{"reason": "R", "stale_reason": "claim_expired"}', "R: claim_expired"),
        ('{"error": "E", "reason": "R", "stale_reason": "claim_expired"}', "E: claim_expired"),
        ('{"error": "was claim_expired", "stale_reason": "claim_expired"}', "was claim_expired"),
        ('{"stale_reason": "claim_expired"}', "claim_expired"),
        ('{"reason": "R", "stale_reason": " "}', "R"),
        ('{"reason": "R", "stale_reason": null}', "R"),
        ('{"reason": "R", "stale_reason": false}', "R"),
        ('{"reason": "R", "stale_reason": 7}', "R"),
        ('{"reason": "R", "stale_reason": ["claim_expired"]}', "R"),
        ('{"reason": "R", "stale_reason": {"message": "x"}}', "R"),
        ('{"reason": ["a"], "stale_reason": "b\\nc"}', '["a"]: b c'),
        ('{"reason": "password", "stale_reason": "hunter2"}', "password: [secret]"),
    ],
)
def test_error_text_of_any_payload(payload, text):
    assert error_text(payload) == text


def test_invisible_characters_are_shown_in_an_example_and_part_no_signatures():
    payloads = [json.dumps({"error": error}) for error in ("a\x1bb\u202ec", "abc", "a\u200bbc")]
    [group] = group_signatures(events_frame([("m1", FAILED, NOON, payload) for payload in payloads[::-1]]))
    assert (group.signature, group.count, group.example) == ("abc", 3, "a\\x1bbU+202Ec")


def test_each_stale_reason_of_the_reconciler_is_a_signature():
    reasons = ["claim_expired", "updated_at_timeout", "started_at_timeout", "created_at_timeout"]
    payloads = [json.dumps({"reason": "stale_running_reconciled", "stale_reason": reason}) for reason in reasons]
    groups = group_signatures(events_frame([("m1", FAILED, NOON, payload) for payload in payloads]))
    assert {group.signature for group in groups} == {f"stale_running_reconciled: {reason}" for reason in reasons}


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"reason": "x", "stale_reason": "y" * 20_000}),
        json.dumps({"error": "x" * 20_000}),
        json.dumps({"error": "x " * 10_000}),
        json.dumps({"error": "://" * 7_000 + " " + "'" * 900}),
        "[" * 20_000,
        '{"error": ' * 5_000,
        "1" * 20_000,
        "\x00" * 20_000,
        '{"error": "' + "\\ud800" * 3_000 + '"}',
        '{"error": "' + "-----BEGIN PRIVATE KEY-----" * 700 + '"}',
        json.dumps({"error": {"a": {"b": [{"c": "d" * 20_000}]}}}),
        12345,
        b"\xff\xfe",
    ],
)
def test_hostile_payloads_give_one_short_line(payload):
    [group] = group_signatures(events_frame([("m1", FAILED, NOON, payload)]))
    assert group.count == 1
    assert 0 < len(group.signature) <= 160
    assert 0 < len(group.example) <= 300
    assert "\n" not in group.example


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
def test_secrets_reach_neither_signature_nor_example(text, parts):
    [group] = group_signatures(events_frame([fallback(text)]))
    for part in parts:
        assert part not in group.signature + group.example
