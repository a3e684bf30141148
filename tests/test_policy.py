"""Policies: what is built in, what a file changes, what the hash stands for, and each mistake's sentence."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_command

import vpanalysis as vp
from vpanalysis.analysis.policy import OVERRIDES, PROFILES, Policy

HEAD = 'name = "strict"\nversion = "2"\n'
THRESHOLDS = {
    "min_missions": 1,
    "fallback_watch": 0.05,
    "fallback_critical": 0.20,
    "p95_watch_seconds": 45.0,
    "p95_critical_seconds": 90.0,
    "require_evidence": False,
}
#: The gates as the design's table has them.
GATES: dict[str, dict[str, Any]] = {
    "traffic": {},
    "latency": {"missions": 2},
    "failures": {
        "in_a_row": 3, "newest": 20, "rate": 0.05, "chance": 0.01, "share": 0.10, "least": 3, "force_share": None,
    },
    "completions": {"seconds": 900.0, "newest": 60, "rate": 0.005, "chance": 0.01, "least": 2, "missions": 3},
    "session": {"degraded": 3, "newest": 60, "per_mission": 0.006, "chance": 0.01},
    "rolling_fallback": {"newest": 20, "share": 0.10},
    "recent_change": {"newest": 20, "chance": 0.01},
    "slow_share": {"matured": 20, "share": 0.05, "rate": 0.02, "chance": 0.05},
    "freshness": {"silent_seconds": 86_400.0, "newest_seconds": 604_800.0},
    "data_quality": {"unaccounted": 0.05, "backwards": 0.10, "without_mission": 0.02},
}  # fmt: skip
NO_GATES = dict.fromkeys(GATES)


@pytest.fixture
def policy_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy file and returns its path."""

    def write(body: str, head: str = HEAD) -> Path:
        path = tmp_path / "strict.toml"
        path.write_text(head + body, "utf-8")
        return path

    return write


@pytest.mark.parametrize("profile", PROFILES)
def test_the_playbook_is_the_design_table(profile: Any) -> None:
    content = Policy.load("playbook", profile).model_dump()
    gates: dict[str, Any] = dict(GATES)
    if profile == "sustained":
        gates |= {"latency": None, "failures": GATES["failures"] | {"force_share": 0.50}}
    assert content == {"name": "playbook", "version": "2", "profile": profile, "gates": gates} | THRESHOLDS


@pytest.mark.parametrize("profile", PROFILES)
def test_capture_has_the_thresholds_and_no_gates(profile: Any) -> None:
    policy = Policy.load("capture", profile)
    assert (
        policy.model_dump() == {"name": "capture", "version": "1", "profile": profile, "gates": NO_GATES} | THRESHOLDS
    )
    assert not policy.gated
    assert Policy.load("playbook", profile).gated


def test_a_gates_settings_are_asked_for_by_its_name() -> None:
    policy = Policy.load("playbook")
    for name, settings in GATES.items():
        assert policy.gate(name).model_dump() == settings
        assert Policy.load("capture").gate(name) is None
    assert policy.gate("fallback_rate") is None  # the table's own row has thresholds only
    assert policy.gate("no such gate") is None


def test_what_the_evidence_and_the_account_take_from_the_gates_outlives_their_being_off(
    policy_file: Callable[[str], Path],
) -> None:
    for policy in (Policy.load("playbook"), Policy.load("capture")):
        assert (policy.overdue_seconds, policy.failure_share) == (900.0, 0.10)
    own = Policy.load(
        policy_file("[rollout.gates.completions]\nseconds = 7200.0\n[rollout.gates.failures]\nshare = 0.2\n")
    )
    assert (own.overdue_seconds, own.failure_share) == (7200.0, 0.2)


def test_the_playbook_for_a_rollout_is_the_default() -> None:
    assert vp.Policy.load() == Policy.load("playbook", "rollout")


def test_what_a_file_does_not_say_is_the_playbooks(policy_file: Callable[[str], Path]) -> None:
    own = Policy.load(policy_file("[rollout]\nfallback_watch = 0.02\n[rollout.gates.failures]\nleast = 5\n"))
    base = Policy.load("playbook")
    assert own.fallback_watch == 0.02
    assert own.gate("failures") == base.gate("failures").model_copy(update={"least": 5})
    assert own.gates.model_copy(update={"failures": None}) == base.gates.model_copy(update={"failures": None})
    assert (own.name, own.version) == ("strict", "2")
    assert Policy.load(policy_file("[rollout]\nfallback_watch = 0.02\n"), "sustained").fallback_watch == 0.05
    sustained = Policy.load(policy_file("[sustained.gates.failures]\nleast = 5\n"), "sustained")
    assert (sustained.gate("failures").least, sustained.gate("failures").force_share) == (5, 0.50)
    assert sustained.gate("latency") is None


def test_a_gate_or_all_of_them_can_be_switched_off_and_on(policy_file: Callable[[str], Path]) -> None:
    one = Policy.load(policy_file("[rollout.gates]\nfailures = false\ndata_quality = false\n"))
    assert [name for name in GATES if one.gate(name) is None] == ["failures", "data_quality"]
    assert one.gated
    assert not Policy.load(policy_file("[rollout]\ngates = false\n")).gated
    only = Policy.load(
        policy_file("[rollout.gates]\n" + "".join(f"{name} = {name == 'session'}\n".lower() for name in GATES))
    )
    assert [name for name in GATES if only.gate(name) is not None] == ["session"]
    assert only.gated
    on = Policy.load(policy_file("[sustained.gates]\nlatency = true\n"), "sustained")
    assert on.gate("latency").model_dump() == GATES["latency"]
    assert Policy.load(policy_file("[sustained.gates.latency]\n"), "sustained").gates == on.gates


@pytest.mark.parametrize("body", ["[sustained]\ngates = true\n", "[sustained.gates]\nfailures = true\n"])
def test_true_keeps_what_the_playbook_says(policy_file: Callable[[str], Path], body: str) -> None:
    """Who writes ``failures = true`` does not mean to lose the share that forces the fallback."""
    assert Policy.load(policy_file(body), "sustained").hash == Policy.load("playbook", "sustained").hash
    assert Policy.load(policy_file("[rollout]\ngates = true\n")).hash == Policy.load("playbook").hash


def test_overrides_replace_thresholds_and_none_keeps_them() -> None:
    values = {
        "min_missions": 10,
        "fallback_watch": 0.1,
        "fallback_critical": 0.3,
        "p95_watch_seconds": 5.0,
        "p95_critical_seconds": 6.0,
    }
    assert tuple(values) == OVERRIDES
    policy = Policy.load("capture", "sustained", **values)
    assert {name: getattr(policy, name) for name in values} == values
    assert Policy.load("capture", **dict.fromkeys(values)) == Policy.load("capture")


def leaves(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_the_hash_stands_for_all_that_decides_and_for_nothing_else(policy_file: Callable[..., Path]) -> None:
    base = Policy.load("playbook")
    assert Policy.load(policy_file("")).hash == base.hash
    seen = {base.hash, Policy.load("playbook", "sustained").hash, Policy.load("capture").hash}
    assert len(seen) == 3
    for (*tables, key), value in leaves(base.model_dump(exclude={"name", "version", "profile"})):
        changed = "true" if value is False else "false" if value is True else 0.5 if value is None else value * 1.5
        if isinstance(value, int) and not isinstance(value, bool):
            changed = value + 1
        found = Policy.load(policy_file(f"[{'.'.join(['rollout', *tables])}]\n{key} = {changed}\n")).hash
        assert found not in seen, (tables, key)
        seen.add(found)
    overridden = Policy.load("playbook", fallback_watch=0.04).hash
    assert overridden not in seen
    assert overridden == Policy.load(policy_file("[rollout]\nfallback_watch = 0.04\n")).hash


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[rollout]\nfallback_watch = 0.3", "table [rollout]: watch must be below critical, but fallback_watch is 0.3"),
        ("[rollout]\nfallback_watch = 0.2", "watch must be below critical"),
        ("[sustained]\np95_critical_seconds = 45", "table [sustained]: watch must be below critical, but p95_watch"),
        ("[rollout]\nfalback_watch = 0.3", "table [rollout]: there is no key 'falback_watch'"),
        ("[rollout.gates.failures]\nrow = 3", "table [rollout.gates.failures]: there is no key 'row'"),
        ("[rollout.gates.failure]\nleast = 3", "table [rollout.gates]: there is no key 'failure'"),
        ("[rollout.gates.failures]\nin_a_row = 30", "[rollout.gates.failures]: in_a_row (30) must not exceed newest"),
        ("[sustained.gates.failures]\nforce_share = 0.05", "share (0.1) must not exceed force_share (0.05)"),
        (
            "[sustained.gates.latency]\nmissions = 0",
            "[sustained.gates.latency]: missions = 0 is wrong; it should be gr",
        ),
        ("[rollout.gates]\nfailures = 3", "[rollout.gates]: failures = 3 is wrong; it should be a table, or false"),
        ("[rollout.gates]\nfailures = 'on'", "failures = 'on' is wrong; it should be a table, or false"),
        ("[rollout]\ngates = 3", "table [rollout]: gates = 3 is wrong; it should be a table, or false"),
        ("[rollout.gates]\nfallback_rate = false", "[rollout.gates]: there is no key 'fallback_rate'"),
        ("[rollout.gates.traffic]\nleast = 3", "table [rollout.gates.traffic]: there is no key 'least'"),
        ("[rollout.gates.session]\nchance = 1.0", "[rollout.gates.session]: chance = 1.0 is wrong; it should be less"),
        ("[rollout.gates.failures]\nforce_share = false", "force_share = False is wrong; it should be a valid number"),
        ("[rollout]\nfallback_watch = nan", "fallback_watch = nan is wrong; it should be a finite number"),
        ("[rollout]\np95_watch_seconds = inf", "p95_watch_seconds = inf is wrong; it should be a finite number"),
        ("[rollout]\nfallback_watch = '5 %'", "fallback_watch = '5 %' is wrong; it should be a valid number"),
        ("[rollout]\nmin_missions = 1.5", "min_missions = 1.5 is wrong; it should be a valid integer"),
        ("[rollout]\nmin_missions = -1", "min_missions = -1 is wrong; it should be greater than or equal to 0"),
        ("[rollout]\nfallback_critical = 20", "fallback_critical = 20 is wrong; it should be less than or equal to 1"),
        ("[rollout]\nrequire_evidence = 1", "require_evidence = 1 is wrong; it should be a valid boolean"),
        ("[rollouts]\nmin_missions = 1", "has no place for 'rollouts'"),
        ("rollout = 3", "rollout must be a table, [rollout]"),
        ("[rollout", "is not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_a_sentence_with_file_table_and_key(
    policy_file: Callable[[str], Path], body: str, sentence: str
) -> None:
    path = policy_file(body)
    with pytest.raises(vp.InputError) as error:
        Policy.load(path)
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"Policy {path}")
    assert str(error.value).endswith(".")


def test_settings_may_meet_where_they_must_not_cross(policy_file: Callable[[str], Path]) -> None:
    policy = Policy.load(policy_file("[rollout.gates.failures]\nin_a_row = 20\nforce_share = 0.1\n"))
    assert (policy.gate("failures").in_a_row, policy.gate("failures").force_share) == (20, 0.1)


@pytest.mark.parametrize("head", ["", 'name = "x"\n', 'version = "1"\n', 'name = ""\nversion = "1"\n', "name = true\n"])
def test_a_policy_has_a_name_and_a_version(policy_file: Callable[..., Path], head: str) -> None:
    with pytest.raises(vp.InputError, match=r"lacks its (name|version)"):
        Policy.load(policy_file("", head))


def test_a_version_may_be_a_number(policy_file: Callable[..., Path]) -> None:
    assert Policy.load(policy_file("", 'name = "x"\nversion = 3\n')).version == "3"


def test_what_cannot_be_loaded_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for location, sentence in (
        ("strict", "There is no policy 'strict': give playbook or capture"),
        (str(tmp_path / "missing.toml"), "There is no policy"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (tmp_path / "binary.toml", "is not a text file in UTF-8"),
        (" ", "No policy"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(vp.InputError, match=sentence):
            Policy.load(location)
    with pytest.raises(vp.InputError, match="There is no profile 'pilot': choose rollout or sustained"):
        Policy.load("playbook", "pilot")  # type: ignore[arg-type]
    with pytest.raises(vp.InputError, match="There is no override 'max_fallback_watch': choose from min_missions"):
        Policy.load("playbook", max_fallback_watch=0.1)
    with pytest.raises(vp.InputError, match=r"\[rollout\] with its overrides: watch must be below critical"):
        Policy.load("playbook", fallback_watch=0.5)
    with pytest.raises(vp.InputError, match="fallback_watch = nan is wrong"):
        Policy.load("playbook", fallback_watch=float("nan"))


BODIES = {
    "one off": "[rollout]\nfallback_watch = 0.02\n[rollout.gates]\nslow_share = false\n",
    "all off": "[rollout]\ngates = false\n[sustained]\ngates = false\n",
    "each off": "[sustained.gates]\n" + "".join(f"{name} = false\n" for name in GATES),
    "one on": "[sustained.gates]\nfailures = true\nlatency = true\n",
    "all on": "[sustained]\ngates = true\n",
    "forced in a rollout": "[rollout.gates.failures]\nforce_share = 0.8\n",
}


@pytest.mark.parametrize("name", ["playbook", "capture", *BODIES])
def test_show_prints_a_file_that_decides_the_same(
    capsys: pytest.CaptureFixture[str], policy_file: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    if name in BODIES:
        name = str(policy_file(BODIES[name]))
    shown = run_command(capsys, "policy", "show", name)
    assert shown.code == 0
    copy = tmp_path / "copy.toml"
    copy.write_text(shown.out, "utf-8")
    for profile in PROFILES:
        assert Policy.load(copy, profile) == Policy.load(name, profile)
        assert f"# hash {Policy.load(name, profile).hash}\n[{profile}]" in shown.out
    assert set(tomllib.loads(shown.out)) == {"name", "version", *PROFILES}


def test_check_prints_the_hashes_or_what_is_wrong(
    capsys: pytest.CaptureFixture[str], policy_file: Callable[[str], Path]
) -> None:
    path = policy_file("[sustained]\nmin_missions = 5\n")
    checked = run_command(capsys, "policy", "check", str(path), "capture")
    rollout, sustained = (Policy.load(path, profile).hash for profile in PROFILES)
    first, second = checked.out.splitlines()
    assert first == f"{path}: strict 2 (rollout {rollout}, sustained {sustained})"
    assert second.startswith("capture: capture 1 ")
    assert (checked.code, checked.err) == (0, "")
    wrong = run_command(capsys, "policy", "check", str(policy_file("[sustained]\nmin_mission = 5\n")))
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == f"ERROR: Policy {path}, table [sustained]: there is no key 'min_mission' " + (
        "('vpanalysis policy show' prints those that there are).\n"
    )
