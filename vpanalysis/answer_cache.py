"""The server's answers, used again for as long as the database provably has not changed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic_core import to_json

from vpanalysis.data.snapshot import Snapshot, session_view
from vpanalysis.errors import InputError

#: Reads at the same time: each uses DuckDB's own threads, and waiting costs less than memory.
_READERS = 4
#: Answers that are kept: lanes times limits, and bytes in all.
_MOST_ANSWERS = 48
_MOST_BYTES = 64_000_000
_OF_THE_MOMENT = {"generated_at", "vp_id", "session"}


class Database(Protocol):
    """What the cache has to know of a source."""

    def now(self) -> datetime:
        """Returns the moment at which the database is read."""

    def fingerprint(self) -> Hashable | None:
        """Returns what differs after any change of the database; ``None`` where nothing can prove that."""


@dataclass(frozen=True)
class Answer:
    """One read's answer as JSON, apart from what depends on the moment.

    Attributes:
        moment: When the database was read.
        vp_id: The lane.
        session: The lane's session as of ``moment``; ``None`` without one.
        rest: The other keys, an object as JSON.
        lasting: Whether the rest stays the same until the database changes: no row's time is yet to come.
    """

    moment: datetime
    vp_id: str
    session: dict[str, Any] | None
    rest: bytes
    lasting: bool

    @classmethod
    def of(cls, snapshot: Snapshot, *, lasting: bool) -> "Answer":
        """Returns a snapshot as an answer."""
        rest = snapshot.model_dump_json(exclude=_OF_THE_MOMENT).encode()
        return cls(datetime.fromisoformat(snapshot.generated_at), snapshot.vp_id, snapshot.session, rest, lasting)

    def at(self, moment: datetime) -> bytes:
        """Returns the endpoint's JSON as of ``moment``: the same numbers, and the session's staleness by then."""
        head = {
            "generated_at": moment.astimezone(UTC).isoformat(),
            "vp_id": self.vp_id,
            "session": session_view(self.session, moment),
        }
        return to_json(head, inf_nan_mode="null")[:-1] + b"," + self.rest[1:]


@dataclass(frozen=True)
class _Outcome:
    """What a read that began at ``began`` (on the monotonic clock) came to: an answer, or why there is none.

    ``fingerprint`` is the database's before and after it; ``None``: the outcome is for those who waited for it only.
    """

    began: float
    answer: Answer | str
    fingerprint: Hashable | None


@dataclass
class _Place:
    """Where the requests for one answer meet: one of them reads, the others wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    outcome: _Outcome | None = None


class AnswerCache:
    """Answers a request by a read that began after it came, or by an earlier one if nothing has changed since."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()
        self._readers = threading.BoundedSemaphore(_READERS)

    def get(self, question: Hashable, read: Callable[[], Answer]) -> bytes:
        """Returns the answer as JSON, as of now.

        Args:
            question: What is asked: equal questions have equal answers.
            read: Reads the database.

        Raises:
            InputError: The database cannot be read.
        """
        came = time.monotonic()
        with self._lock:
            place = self._places.setdefault(question, _Place())
            self._places.move_to_end(question)
        with place.lock:
            known = place.outcome
            if known is None or known.began < came:
                now = self._database.now()
                if (
                    known is not None
                    and isinstance(known.answer, Answer)
                    and known.fingerprint is not None
                    and known.answer.moment <= now
                    and known.fingerprint == self._database.fingerprint()
                ):
                    return known.answer.at(now)
                known = place.outcome = self._read(read)
                self._forget_the_oldest()
        if isinstance(known.answer, str):
            raise InputError(known.answer)
        return known.answer.at(known.answer.moment)

    def _read(self, read: Callable[[], Answer]) -> _Outcome:
        with self._readers:
            began = time.monotonic()
            before = self._database.fingerprint()
            try:
                answer = read()
            except InputError as error:
                return _Outcome(began, str(error), None)
            unchanged = before is not None and answer.lasting and self._database.fingerprint() == before
            return _Outcome(began, answer, before if unchanged else None)

    def _forget_the_oldest(self) -> None:
        with self._lock:
            sizes = {question: _size(place) for question, place in self._places.items()}
            while len(sizes) > _MOST_ANSWERS or (sum(sizes.values()) > _MOST_BYTES and len(sizes) > 1):
                oldest, _ = self._places.popitem(last=False)
                del sizes[oldest]


def _size(place: _Place) -> int:
    answer = place.outcome and place.outcome.answer
    return len(answer.rest) if isinstance(answer, Answer) else 0
