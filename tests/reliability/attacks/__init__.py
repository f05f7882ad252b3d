"""One file per kind of attack; :data:`ATTACKS` lists what each offers."""

from __future__ import annotations

from tests.reliability.attack import Attack
from tests.reliability.attacks.crafted_records import CRAFTED_RECORDS
from tests.reliability.attacks.damaged_files import DAMAGED_FILES
from tests.reliability.attacks.damaged_stores import DAMAGED_STORES
from tests.reliability.attacks.full_disks import FULL_DISKS
from tests.reliability.attacks.interrupted_analyses import INTERRUPTED_ANALYSES
from tests.reliability.attacks.killed_scans import KILLED_SCANS

ATTACKS: tuple[Attack, ...] = (
    *DAMAGED_FILES,
    *CRAFTED_RECORDS,
    *DAMAGED_STORES,
    *FULL_DISKS,
    *KILLED_SCANS,
    *INTERRUPTED_ANALYSES,
)
