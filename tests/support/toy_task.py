"""A toy exercise, 90: schedule first come, first served with two slots. Copied into a course of its own by the tests."""

from coursekit.judging.operations import driver, scene, well_formed
from coursekit.judging.runs import largest_gap, last_finish, steps_used, timeline
from coursekit.judging.scheduling import Bench, random_jobs
from coursekit.task import Case, Finding, Task

TITLE = "A toy"
BENCH = Bench(max_num_seqs=2, num_blocks=16, block_size=4)
JOBS = [[0.0, 4, 3], [0.0, 2, 1], [0.5, 3, 2]]


def rules(args, run):
    best = BENCH.reference(args, "continuous")
    if steps_used(run) > steps_used(best):
        cause = "a seat stays empty while somebody waits"
        return Finding("few steps", cause, "slow", f"{steps_used(best)} steps", timeline(run))
    if last_finish(run) > 2 * last_finish(best) or largest_gap(run)[0] > 10:
        return Finding("nobody waits long", "it takes twice as long as needed", "late", "sooner", timeline(run))
    return None


def judge_pool(args, got):
    (slots,), operations = args
    free = slots
    for entry in got[1:]:
        enough = free > 0
        free -= entry["op"][0] == "take" and enough
        if entry["op"][0] == "take" and not enough and "raised" not in entry:
            return Finding("an empty pool gives nothing", "it gave one block more than there are", "too many", "an error", entry)
        if entry["num_free"] != free:
            return Finding("num_free counts what is left", "num_free is another number", "count", free, entry["num_free"])
    return None


SCHEDULER = BENCH.task(
    id="90.1", name="Mine", title="Two slots", points=50,
    cases=(Case((JOBS,), None), Case((JOBS, {"max_num_seqs": 1}), None)), rules=rules, rounds=6,
    generate=lambda rng, size: (random_jobs(rng, size),), hints=("a", "b", "c"),
)  # fmt: skip

POOL = Task(
    id="90.2", name="Pool", title="A pool", points=50, returns="a class",
    cases=(Case(([1], [["take"], ["take"]]), None),),
    drive=driver(watch=("num_free",)), judge=judge_pool, scene=scene("Pool"), exact=False, rounds=4,
    valid=lambda args: well_formed(args[1], {"take": 0}) and len(args[0]) == 1,
    generate=lambda rng, size: ([size], [["take"]] * rng.randint(1, size + 1)), hints=("a", "b", "c"),
)  # fmt: skip

TASKS = [SCHEDULER, POOL]
