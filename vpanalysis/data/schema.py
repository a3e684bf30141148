"""The data contract as data: tables, columns, event types, statuses and the field's names for its files."""

DEFAULT_VP_ID = "vp.coder.primary"

#: The runtime's files in the order in which an operator's environment names them.
SOURCE_ENVIRONMENT = ("UA_CODER_VP_DB_PATH", "UA_VP_DB_PATH", "UA_RUNTIME_DB_PATH")
#: Names the lanes that an operator's runtime serves, separated by commas.
ENABLED_ENVIRONMENT = "UA_VP_ENABLED_IDS"
#: Stands between the parts of a location that names several.
SEVERAL = " + "
FIELD_FILES = ("coder_vp_state.db", "vp_state.db", "runtime_state.db")

#: Columns of each VP table that this package reads, as the newest schema has them; all TEXT.
#: ``vp_session_events`` and the columns of ``OPTIONAL_COLUMNS`` are absent from older databases.
SESSION_COLUMNS = (
    "vp_id",
    "runtime_id",
    "session_id",
    "workspace_dir",
    "status",
    "lease_owner",
    "lease_expires_at",
    "last_heartbeat_at",
    "last_error",
    "metadata_json",
    "created_at",
    "updated_at",
)
MISSION_COLUMNS = (
    "mission_id",
    "vp_id",
    "run_id",
    "status",
    "mission_type",
    "objective",
    "budget_json",
    "payload_json",
    "result_ref",
    "priority",
    "priority_tier",
    "worker_id",
    "claim_expires_at",
    "cancel_requested",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
    "source",
    "result_published",
)
EVENT_COLUMNS = ("event_id", "mission_id", "vp_id", "event_type", "payload_json", "created_at")
SESSION_EVENT_COLUMNS = ("event_id", "vp_id", "event_type", "payload_json", "created_at")

TABLES = {
    "vp_sessions": SESSION_COLUMNS,
    "vp_missions": MISSION_COLUMNS,
    "vp_events": EVENT_COLUMNS,
    "vp_session_events": SESSION_EVENT_COLUMNS,
}
REQUIRED_TABLES = ("vp_sessions", "vp_missions", "vp_events")

UNKNOWN = "unknown"
TERMINAL_STATUSES = ("completed", "failed", "cancelled", "timed_out")
MISSION_STATUSES = ("queued", "running", "blocked", *TERMINAL_STATUSES)
FAILED_STATUSES = ("failed", "timed_out")
SESSION_STATUSES = ("idle", "active", "paused", "degraded", "recovering", "retired")
ORPHANED_STATUSES = ("degraded", "recovering")

DISPATCHED = "vp.mission.dispatched"
STARTED = "vp.mission.started"
PROGRESS = "vp.mission.progress"
COMPLETED = "vp.mission.completed"
FAILED = "vp.mission.failed"
CANCELLED = "vp.mission.cancelled"
CANCEL_REQUESTED = "vp.mission.cancel_requested"
FALLBACK = "vp.mission.fallback"
MISSION_EVENT_TYPES = (DISPATCHED, STARTED, PROGRESS, COMPLETED, FAILED, CANCELLED, FALLBACK, CANCEL_REQUESTED)
#: The status that each terminal event stands for.
TERMINAL_EVENTS = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled"}

#: How the ids of missions begin that arrived over the Redis bridge: they never have a dispatched event.
BRIDGE = "bridge-"

SESSION_CREATED = "vp.session.created"
SESSION_RESUMED = "vp.session.resumed"
SESSION_DEGRADED = "vp.session.degraded"
SESSION_RECOVERED = "vp.session.recovered"
SESSION_AVAILABLE = "vp.session.available"
DISPATCH_HELD = "vp.dispatch.held"
SESSION_EVENT_TYPES = (
    SESSION_CREATED,
    SESSION_RESUMED,
    SESSION_DEGRADED,
    SESSION_RECOVERED,
    SESSION_AVAILABLE,
    DISPATCH_HELD,
)

#: Seconds without a heartbeat after which an active session is stale (the gateway's value), and without an end
#: after which a mission that started is overdue; one that never started is overdue later.
STALE_SECONDS = 900
NEVER_STARTED_SECONDS = 3600

#: Seconds by which a stamp may lie beyond the moment of reading before clocks are in doubt.
BEYOND_SECONDS = 60

#: The endpoint's bounds: requests outside are clamped, as the gateway does.
MAX_MISSION_LIMIT = 500
MAX_EVENT_LIMIT = 1000
