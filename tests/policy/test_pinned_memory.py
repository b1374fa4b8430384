"""The memory of pinned models: it is room for nobody else."""

from herd.policy.loads import NO_LOAD, ModelLoad, NodeLoad
from herd.policy.memory import Room, budget
from herd.policy.values import Hardware, Memory, MemoryKind, NodeView
from herd.types import Bytes, GiB
from tests.policy.views import card, model, node

NEW = Bytes(2 * GiB)


def rooms(view: NodeView, *pinned: str, held: NodeLoad = NO_LOAD, key: str = "new") -> Room:
    """In GiB."""
    now, later = budget(key, NEW, view, pinned).room(key, held)
    return Room(round(now / GiB), round(later / GiB))


FULL = node("a", model("kept", gib=6, resident=True), model("idle", gib=8, resident=True), **card(16, 2))


def test_what_is_idle_is_room_and_what_is_pinned_is_not() -> None:
    assert rooms(FULL) == (16, 16)
    assert rooms(FULL, "kept") == (10, 10)
    assert rooms(FULL, "kept", "idle") == (2, 2)
    assert rooms(FULL, "elsewhere") == (16, 16)


def test_a_pinned_model_that_is_in_use_counts_once() -> None:
    held = NodeLoad(1, models={"kept": ModelLoad(1)})
    assert rooms(FULL, "kept", held=held) == (10, 10)
    assert rooms(FULL, held=held) == (10, 16)


def test_a_pinned_model_itself_may_be_loaded_anew_where_it_is() -> None:
    assert rooms(FULL, "kept", key="kept") == (16, 16)


def test_what_other_programs_take_is_not_there_either() -> None:
    memory = Memory(Bytes(16 * GiB), Bytes(1 * GiB), Bytes(16 * GiB))
    shared = node("a", model("kept", gib=6, resident=True), memory=memory, hardware=Hardware(MemoryKind.UNIFIED, 1e11))
    assert rooms(shared) == (7, 7)
    assert rooms(shared, "kept") == (1, 1)


def test_pinned_models_and_others_together_stay_under_the_owners_ceiling() -> None:
    memory = Memory(Bytes(20 * GiB), Bytes(14 * GiB), Bytes(20 * GiB))
    shared = node("a", model("kept", gib=6, resident=True), memory=memory, hardware=Hardware(MemoryKind.UNIFIED, 1e11))
    assert rooms(shared, "kept") == (12, 12)  # 90 % of 20 GiB, less 6
