"""Sources that hold no tables but the endpoint's answer: a saved snapshot, and a gateway."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Self

from vpanalysis.data import gateway
from vpanalysis.data.ops_token import MASKED_LENGTH, resolve_token
from vpanalysis.data.schema import MAX_EVENT_LIMIT, MAX_MISSION_LIMIT
from vpanalysis.data.snapshot import Snapshot, clamp_event_limit, clamp_mission_limit
from vpanalysis.data.snapshot_tables import as_model, generated_at, parse_snapshot, snapshot_tables, stated_numbers
from vpanalysis.data.tables import Tables
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError


class _EndpointSource(ABC):
    """What a saved snapshot and a gateway have in common.

    Attributes:
        name: What was read, as reports show it.
        kind: ``snapshot`` or ``gateway``.
    """

    name: str
    kind: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: B027
        """Nothing to close."""

    @abstractmethod
    def load(self, window: RolloutWindow) -> Tables:
        """Returns the tables of the newest missions."""

    def load_with(
        self, window: RolloutWindow, others: Callable[[Tables], Mapping[str, RolloutWindow]]
    ) -> tuple[Tables, dict[str, Tables]]:
        """Returns the window's tables and those of other windows, each asked for by itself."""
        tables = self.load(window)
        return tables, {name: self.load(other) for name, other in others(tables).items()}

    def series(self, span: RolloutWindow, plan: object, use: object) -> NoReturn:
        """Raises: what holds the newest missions alone has no past windows."""
        raise InputError(f"{self.name} holds only the newest missions, not a lane's past: give the database itself.")

    def lanes(self) -> tuple[str, ...]:
        """Returns nothing: an endpoint answers for one lane, and names no others."""
        return ()

    def _check_window(self, window: RolloutWindow) -> None:
        if window.last_missions is None:
            raise InputError(
                f"{self.name} holds the newest missions without their creation times: ask for the newest missions, "
                "without a start and an end, or give the database itself."
            )
        if window.skip_missions:
            raise InputError(f"{self.name} holds the newest missions only: it cannot show those before them.")

    def _check_lane(self, content: Mapping[str, Any], vp_id: str) -> None:
        found = content.get("vp_id")
        if found is not None and found != vp_id:
            raise InputError(f"{self.name} is about the lane {found!r}, not {vp_id!r}: name that lane.")

    def _tables(self, content: Mapping[str, Any], window: RolloutWindow, event_limit: int | None) -> Tables:
        taken = generated_at(content)
        as_of = taken or window.as_of or datetime.now(UTC)
        asked = window.as_of or as_of
        # A moment that was written down to the second still means this snapshot.
        if as_of - asked >= timedelta(seconds=1):
            raise InputError(
                f"{self.name} was taken at {as_of.isoformat()} and cannot be judged as of {asked.isoformat()}: "
                "leave as_of out, or give the database itself."
            )
        considered = stated_numbers(content).fallback.missions_considered or 0
        return snapshot_tables(
            content,
            window=replace(window, last_missions=max(window.last_missions or 1, considered)).at(as_of),
            as_of=as_of,
            source=self.name,
            kind=self.kind,
            event_limit=event_limit,
            ends_before_window=as_of if asked > as_of else None,
        )


class SnapshotSource(_EndpointSource):
    """A saved snapshot: the ``.json`` file that ``vpanalysis snapshot`` or ``curl`` wrote."""

    kind = "snapshot"

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise InputError(f"{path} is not a regular file: give the path of a saved snapshot.")
            if path.stat().st_size > gateway.MAX_BYTES:
                raise InputError(f"{path} is over {gateway.MAX_BYTES // 1_000_000} MB: that is not a metrics snapshot.")
            self._content = parse_snapshot(path.read_bytes(), path.name)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist: check the path of the saved snapshot.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None

    def lanes(self) -> tuple[str, ...]:
        """Returns the lane that it says it is of."""
        return tuple(name for name in (self._content.get("vp_id"),) if isinstance(name, str) and name.strip())

    def load(self, window: RolloutWindow) -> Tables:
        """Returns the snapshot's tables; its missions are the window, however many were asked for.

        Raises:
            InputError: It is of another lane, or no snapshot can show that window.
        """
        self._check_window(window)
        self._check_lane(self._content, window.vp_id)
        return self._tables(self._content, window, event_limit=None)

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        """Returns the saved snapshot when it is a gateway's own."""
        self._check_lane(self._content, vp_id)
        if self._content.get("events_complete"):
            raise InputError(f"{self.name} was counted from all events, so the gateway's own answer is not in it.")
        return as_model(self._content, self.name)


class GatewaySource(_EndpointSource):
    """A gateway's metrics endpoint, or that of ``vpanalysis serve``: every load is one request."""

    kind = "gateway"

    def __init__(self, location: str, *, ops_token: str | None = None, event_limit: int | None = None) -> None:
        """Remembers where to ask.

        Args:
            location: A gateway's base URL, or the full URL of an endpoint.
            ops_token: The token; failing that ``UA_OPS_TOKEN`` or ``.env``.
            event_limit: How many events to ask for; failing that as many as the URL says, or the most there are.
        """
        self._endpoint = gateway.Endpoint.of(location)
        self._token = resolve_token(ops_token)
        if event_limit is None:
            of_url = self._endpoint.query.get("event_limit", "")
            event_limit = int(of_url) if of_url.isdecimal() else MAX_EVENT_LIMIT
        self._event_limit = clamp_event_limit(event_limit)
        self.name = self._endpoint.url

    def load(self, window: RolloutWindow) -> Tables:
        """Returns what the endpoint answers now for the newest missions, up to 500.

        Raises:
            InputError: It cannot be read, or no snapshot can show that window.
        """
        self._check_window(window)
        if window.last_missions is not None and window.last_missions > MAX_MISSION_LIMIT:
            raise InputError(
                f"{self.name} knows the newest {MAX_MISSION_LIMIT} missions at most, not {window.last_missions}: "
                "ask for fewer, or give the database itself."
            )
        content = self._fetch(window.vp_id, window.last_missions or 1, self._event_limit)
        return self._tables(content, window, self._event_limit)

    def gateway_snapshot(self, vp_id: str, mission_limit: int = 50, event_limit: int = 200) -> Snapshot:
        """Returns the gateway's own answer; from ``vpanalysis serve`` what the gateway would answer."""
        limits = clamp_mission_limit(mission_limit), clamp_event_limit(event_limit)
        return as_model(self._fetch(vp_id, *limits, gateway_compatible=1), self.name)

    def _fetch(self, vp_id: str, mission_limit: int, event_limit: int, **more: int) -> dict[str, Any]:
        named = self._endpoint.query.get("vp_id")
        if named is not None and named != vp_id:
            raise InputError(f"The URL asks for the lane {named!r}, not {vp_id!r}: name one of the two.")
        query: dict[str, str | int] = {
            "vp_id": vp_id,
            "mission_limit": mission_limit,
            "event_limit": event_limit,
            **more,
        }
        body = gateway.fetch(self._endpoint, query, self._token)
        if self._token and len(self._token) >= MASKED_LENGTH:
            body = body.replace(self._token.encode(), b"***")  # a server may repeat what it was sent
        content = parse_snapshot(body, self.name)
        self._check_lane(content, vp_id)
        return content
