"""The rows. Every noun's table, imported here so that migrations see them all."""

from app.models.alert import Alert, AlertKind, AlertNotice, AlertPreference, Channel
from app.models.api_key import ApiKey
from app.models.audit import AuditEntry
from app.models.base import Base
from app.models.bulk_order import BulkOrder
from app.models.connection import Connection
from app.models.event import Event
from app.models.file import File, FileChunk
from app.models.heartbeat import Heartbeat
from app.models.hold import Hold
from app.models.kept import Kept
from app.models.pace import Pace
from app.models.payload import Payload
from app.models.queue import Queue
from app.models.rule import Rule, RuleVersion
from app.models.run import Run
from app.models.sign_in import SignIn
from app.models.states import Role, State, StepKind, TriggerKind
from app.models.storage import Storage, StorageSample, SweepMark
from app.models.task import Attempt, Task
from app.models.trigger import Hook, Trigger
from app.models.usage import Usage
from app.models.user import User
from app.models.workspace import Invitation, Membership, Workspace

__all__ = [
    "Alert", "AlertKind", "AlertNotice", "AlertPreference", "ApiKey", "Attempt", "AuditEntry", "Base", "BulkOrder",
    "Channel", "Connection", "Event", "File", "FileChunk", "Heartbeat", "Hold",
    "Hook", "Invitation", "Kept", "Membership", "Pace", "Payload", "Queue", "Role", "Rule", "RuleVersion", "Run",
    "SignIn", "State", "StepKind", "Storage", "StorageSample", "SweepMark", "Task", "Trigger", "TriggerKind",
    "Usage", "User", "Workspace",
]  # fmt: skip
