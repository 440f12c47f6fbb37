"""Tasks whose answer is a scheduler: run the learner's class on a simulated engine, judge the plans it made.

A whole task:

    from ...judging.runs import steps_used, timeline
    from ...judging.scheduling import Bench, random_jobs
    from ...task import Case, Finding

    BENCH = Bench(max_num_seqs=2, num_blocks=64)              # knobs of EngineConfig; the simulator's model and GPU
    JOBS = [[0.0, 4, 3], [0.0, 2, 1], [0.5, 3, 2]]            # arrival in seconds, prompt tokens, output tokens

    def rules(args, run):                                      # called for a run in which everybody got all tokens
        if steps_used(run) > 5:
            return Finding("5 steps are enough", "a seat stays empty while somebody waits", "slow",
                           expected="5 steps", got=timeline(run))
        return None

    TASK = BENCH.task(
        id="05.1", name="MyScheduler", title="...", points=40,
        cases=(Case((JOBS,), None),),                          # no written-out answer: the rules decide
        rules=rules, generate=lambda rng, size: (random_jobs(rng, size),),
        hints=("...", "...", "..."),
    )

``args`` is ``(jobs,)`` or ``(jobs, knobs)``, so that a case can set knobs of its own: ``(JOBS, {"batch_size": 3})``. A job may
have a fourth part, a dict with max_tokens, priority, deadline (seconds on the clock), user, or prefix: [number, tokens], so
many of the first tokens of its prompt are those of every job with that number. Requests are called r0, r1, ... in the order
of the jobs.

``drive`` runs beside the learner's code and returns a *run*, plain data:

    steps      [{start, duration, slices: [[id, computed before, n], ...], emitted: [id, ...] (who got a token), rows: [id, ...]
               or None, span, padding, finished_rows, finished, refused: [[id, why], ...], preempted, blocks_free, blocks_total}]
    requests   {id: {arrival, prompt, output, first_token, finish, token_times, preemptions}}, times in seconds or None
    broken     None, or {rule, text}: the rule of the engine that a plan broke; steps holds what came before
    endless    None, or words: it was stopped after too many steps or too many plans that only wait

An exception in the learner's code is left to pass: ``check`` shows its line; ``on_error=scheduler_error`` has words
for some. The judge believes none of the times: it carries out the recorded plans once more on an engine of its own, in
the judge's process, and hands that run to the rules. Plans that cannot be carried out are a broken rule.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..task import Args, Finding, Judge, Task
from .runs import STARTS, Run, Step, goes_on_for_ever, rule_broken, timeline

if TYPE_CHECKING:  # a notebook imports this file, and the engine is heavy
    from minieng import Plan, Request, Scheduler
    from minieng.observe.trace import StepRecord

Jobs = Sequence[Sequence[Any]]  # [arrival in seconds, prompt tokens, output tokens], and in some a dict
Rules = Callable[[Args, Run], Finding | None]
Words = Mapping[str, str | Callable[[Run], str]]  # slip -> its cause, or what makes one from the run

QUIET = {"enable_prefix_caching": False}
WAITS = 3_000


class Endless(Exception):
    """The scheduler asks for more steps, or waits more often, than any fair schedule needs."""


class Bench:
    """A simulated engine to try schedulers on. Knobs are those of EngineConfig; prefix caching is off unless asked for."""

    def __init__(self, model: str = "llama-7b", gpu: str = "A100-80G", **knobs: Any) -> None:
        self.model, self.gpu = model, gpu
        self.knobs: dict[str, Any] = {**QUIET, **knobs}

    # ------------------------------------------------ for a Task
    def drive(self, answer: Any, args: Args) -> Run:
        """The run of a learner's class on these jobs."""
        from minieng import Scheduler

        scheduler = answer() if isinstance(answer, type) else answer
        if not isinstance(scheduler, Scheduler):
            raise TypeError(f"this is no scheduler: begin it with `class {getattr(answer, '__name__', 'Mine')}(Scheduler):`")
        jobs, knobs = parts(args)
        return self._run(scheduler, jobs, knobs)

    def task(
        self,
        *,
        rules: Rules | None = None,
        words: Words | None = None,
        judge: Judge | None = None,
        like: str | None = None,
        **fields: Any,
    ) -> Task:
        """A ``Task`` whose answer is a scheduler: what all of these share is filled in, any field can be named.

        Give the ``rules`` of the exercise with its own ``words``, as for ``judge``, or a whole ``judge``.
        like: one of the engine's own schedulers, whose schedule is shown beside the learner's.
        """
        if judge is None:
            assert rules is not None, "a scheduler task needs rules or a judge"
            judge = self.judge(rules, words)
        shared: dict[str, Any] = {
            "returns": "a subclass of minieng.Scheduler",
            "drive": self.drive,
            "judge": judge,
            "scene": self.scene,
            "valid": self.valid,
            "on_error": scheduler_error,
            "exact": False,
            "engine": True,
            "rounds": 24,
        }
        if like is not None:
            shared["beside"] = partial(self.beside, like)
        return Task(**{**shared, **fields})

    def judge(self, rules: Rules, words: Words | None = None) -> Judge:
        """``judge`` for a Task: the engine's rules and fairness first, then ``rules(args, run)`` on a run made here.

        words: {slip: cause}, what this exercise says in place of a cause that is told for every engine. A cause may be a
        function of the run.
        """
        own = words or {}

        def judge(args: Args, got: Any) -> Finding | None:
            run = self.replayed(args, got)
            finding = rule_broken(run) or goes_on_for_ever(run) or rules(tuple(args), run)
            if not finding or finding.slip not in own:
                return finding
            said = own[finding.slip]
            return replace(finding, cause=said if isinstance(said, str) else said(run))

        return judge

    def valid(self, args: Args) -> bool:
        """Whether the jobs are fair: at least one, in order of arrival, each with a token to read and one to write."""
        jobs, _ = parts(args)
        times = [job[0] for job in jobs]
        whole = all(len(j) >= 3 and j[0] >= 0 and j[1] >= 1 and j[2] >= 1 for j in jobs)
        return bool(jobs) and whole and times == sorted(times)

    def scene(self, args: Args) -> str:
        """The call in words."""
        jobs, knobs = parts(args)
        told = "; ".join(f"r{i} at {j[0]:g} s, prompt {j[1]}, output {j[2]}" for i, j in enumerate(jobs[:12]))
        more = f"; ... {len(jobs)} in all" if len(jobs) > 12 else ""
        wanted = {k: v for k, v in {**self.knobs, **knobs}.items() if k not in QUIET}
        return told + more + "".join(f"; {k}={v}" for k, v in wanted.items())

    def beside(self, like: str, args: Args, finding: Finding) -> Finding:
        """The finding, with a right schedule in the same form as the learner's: the same steps, a row for each request."""
        if not isinstance(finding.got, str) or not isinstance(finding.expected, str):
            return finding
        heads = finding.got.split("\n")[0].split()
        first = int(heads[1]) if len(heads) > 1 and heads[1].isdigit() else 0
        right = timeline(self.reference(args, like), first=first, starts=f"\n{STARTS}" in finding.got)
        return replace(finding, expected=f"{right}\n(one right schedule; {finding.expected})")

    # ------------------------------------------------ for the judge
    def replayed(self, args: Args, got: Run) -> Run:
        """The run that the recorded plans give on an engine of the judge's own; nothing else of ``got`` is believed."""
        jobs, knobs = parts(args)
        said = {key: got[key] for key in ("broken", "endless")}
        try:
            run = self._run(recorded(got["steps"]), jobs, knobs)
        except Exception as problem:  # a record that was made up may break the engine in any way
            text = f"the record of the plans cannot be carried out ({type(problem).__name__})"
            return {"steps": [], "requests": {}, "broken": {"rule": "plans can be carried out", "text": text}, "endless": None}
        if said["broken"] or said["endless"]:
            rule = said["broken"] and {key: str(said["broken"][key])[:400] for key in ("rule", "text")}
            run["broken"], run["endless"] = rule, said["endless"] and str(said["endless"])[:200]
        return run

    def reference(self, args: Args, scheduler: str) -> Run:
        """The run of one of the engine's own schedulers ("static", ...), for targets."""
        from minieng.scheduler import make_scheduler

        jobs, knobs = parts(args)
        return self._run(make_scheduler(scheduler), jobs, knobs)

    def _run(self, scheduler: "Scheduler", jobs: Jobs, knobs: dict[str, Any]) -> Run:
        from minieng import PlanError
        from minieng.sim.simulated import simulated_engine

        engine = simulated_engine(self.model, self.gpu, scheduler=scheduler, **{**self.knobs, **knobs})
        requests = [engine.add_request(request_of(i, job)) for i, job in enumerate(jobs)]
        most = 100 + 3 * sum(job[1] + job[2] for job in jobs)
        count_plans(scheduler, most)
        broken: dict[str, str] | None = None
        endless: str | None = None
        try:
            while engine.has_work:
                engine.step()
        except PlanError as problem:
            broken = {"rule": problem.rule, "text": str(problem).partition(" broken: ")[2][:400]}
        except Endless as problem:
            endless = str(problem)
        steps = [plain_step(record) for record in engine.trace]
        known = {r.request_id: plain_request(r, job) for r, job in zip(requests, jobs)}
        return {"steps": steps, "requests": known, "broken": broken, "endless": endless}


def scheduler_error(args: Args, error: str, text: str) -> str | None:
    """``on_error`` for a Task: words for the exceptions that a first scheduler meets."""
    if "slice" in text and "sequence index" in text:
        return "self.waiting is a deque, and Python cannot slice a deque. Make a list of it: list(self.waiting)[:n]"
    if error == "ValueError" and "empty" in text and ("max()" in text or "min()" in text):
        which = "max()" if "max()" in text else "min()"
        return (
            f"{which} of nobody: plan is also asked when nobody waits, and when nobody runs. Look whether there is somebody first"
        )
    if "non-iterable Request" in text:
        return "plan.extend is a list of pairs: (request, how many tokens it computes in this step)"
    if "object is not iterable" in text and ("NoneType" in text or "bool" in text):
        what = "None" if "NoneType" in text else "True or False"
        return f"a list is asked for, and there is {what}. leavers(done) returns a list of requests, [] if nobody leaves"
    if error == "AttributeError" and "object has no attribute 'status'" in text:
        return "a Plan names the requests themselves, as they stand in self.running and self.waiting: not their names or numbers"
    if error == "AttributeError" and ("has no setter" in text or "can't set attribute" in text):
        name = next((f"self.{queue}" for queue in ("running", "waiting") if queue in text), "this field")
        return (
            f"{name} belongs to the engine, and a scheduler only reads it. Name in the Plan who computes; "
            "the engine moves the requests when it carries the plan out"
        )
    if error == "IndexError" and "deque" in text:
        return "self.waiting is empty: plan is asked also when nobody waits. Look whether there is somebody first"
    if error == "IndexError" and "list index" in text:
        return "a list is shorter than your index: plan is also asked when nobody runs. Look whether there is somebody first"
    return None


def parts(args: Args) -> tuple[Jobs, dict[str, Any]]:
    """(jobs, knobs) of the arguments of a call."""
    return args[0], dict(args[1]) if len(args) > 1 else {}


def request_of(number: int, job: Sequence[Any]) -> "Request":
    from minieng.sim.executor import scripted_request

    arrival, prompt, output, *rest = job
    more = dict(rest[0]) if rest else {}
    prefix, shared = more.pop("prefix", (0, 0))
    tokens = [2_000_000 + prefix] * shared + [1_000_000 + number] * (prompt - shared) if shared else prompt
    return scripted_request(number, tokens, output, arrival, name=f"r{number}", **more)


def count_plans(scheduler: "Scheduler", most: int) -> None:
    """Stop a scheduler that never comes to an end."""
    plan, steps, waits = scheduler.plan, [0], [0]

    def counted(now: float) -> Any:
        made = plan(now)
        idle = not getattr(made, "extend", None)
        (waits if idle else steps)[0] += 1
        if steps[0] > most:
            raise Endless(f"it was stopped after {most} steps")
        if waits[0] > WAITS:
            raise Endless(f"it was stopped after {WAITS} plans that only wait")
        return made

    scheduler.plan = counted  # type: ignore[method-assign]  # this one object's


def recorded(steps: list[Step]) -> "Scheduler":
    """A scheduler that decides nothing: it names again what was planned, and waits in between as long as was waited."""
    from minieng import Plan, PlanError, Scheduler
    from minieng.observe.record import plan_again

    class Recorded(Scheduler):
        at = 0  # steps carried out

        def plan(self, now: float) -> "Plan":
            if self.at >= len(steps):
                raise PlanError("never idle without a reason", "the record ends before every request is done")
            step = steps[self.at]
            if step["start"] > now:
                return Plan(wait_until=step["start"])
            known = {r.request_id: r for r in self.members}
            names = [s[0] for s in step["slices"]] + step["preempted"] + (step["rows"] or [])
            if not set(names) <= known.keys():
                raise PlanError("only known requests", "the record names a request that is not there")
            said = [(name, str(why)) for name, why in step["refused"]]
            return plan_again(known, step["slices"], step["preempted"], said, step["rows"], step["span"])

        def leavers(self, done: "list[Request]") -> "list[Request]":
            gone = set(steps[self.at]["finished"])
            self.at += 1
            leaving = [r for r in self.running if r.request_id in gone]
            if not all(r.is_done for r in leaving):
                raise PlanError("a request leaves when it is done", "a request left before its last token")
            return leaving

    return Recorded()


def plain_step(record: "StepRecord") -> Step:
    return {
        "start": record.start,
        "duration": record.duration,
        "slices": [list(s) for s in record.slices],
        "emitted": [s[0] for s, token in zip(record.slices, record.tokens) if token is not None],
        "rows": record.rows,
        "span": record.span,
        "padding": record.padding,
        "finished_rows": record.finished_rows,
        "finished": record.finished,
        "refused": [list(r) for r in record.refused],
        "preempted": record.preempted,
        "blocks_free": record.blocks_free,
        "blocks_total": record.blocks_total,
    }


def plain_request(request: "Request", job: Sequence[Any]) -> dict[str, Any]:
    return {
        "arrival": request.arrival_time,
        "prompt": request.num_prompt_tokens,
        "output": job[2],
        "first_token": request.token_times[0] if request.token_times else None,
        "finish": request.finish_time,
        "token_times": list(request.token_times),
        "preemptions": request.num_preemptions,
    }


def random_jobs(rng: random.Random, size: int, spread: float = 0.05, prompt: int = 8, output: int = 6) -> list[list[Any]]:
    """A few random jobs in order of arrival; half of the time all are there at once. Sizes grow with ``size`` (1 to 8)."""
    count = rng.randint(1, 1 + size)
    step = spread if rng.random() < 0.5 else 0.0
    at = 0.0
    jobs: list[list[Any]] = []
    for _ in range(count):
        jobs.append([round(at, 3), rng.randint(1, 2 + prompt * size // 8), rng.randint(1, 1 + output * size // 8)])
        at += step * rng.random()
    return jobs
