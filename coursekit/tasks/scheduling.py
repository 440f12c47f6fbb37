"""Tasks whose answer is a scheduler: run the learner's class on a simulated engine, judge the plans it made.

A whole task:

    from ..task import Case, Finding, Task
    from .scheduling import Bench, random_jobs, steps_used

    BENCH = Bench(max_num_seqs=2, num_blocks=64)              # knobs of EngineConfig; the simulator's model and GPU
    JOBS = [[0.0, 4, 3], [0.0, 2, 1], [0.5, 3, 2]]            # arrival in seconds, prompt tokens, output tokens

    def rules(args, run):                                      # called for a run in which everybody got all tokens
        if steps_used(run) > 5:
            return Finding("5 steps are enough", "a slot stays empty while somebody waits", "slow",
                           expected="5 steps", got=timeline(run))
        return None

    TASK = Task(
        id="05.1", name="MyScheduler", title="...", points=40, returns="a subclass of minieng.Scheduler",
        cases=(Case((JOBS,), None),),                          # no written-out answer: the rules decide
        drive=BENCH.drive, judge=BENCH.judge(rules), scene=BENCH.scene, valid=BENCH.valid, exact=False, rounds=10,
        generate=lambda rng, size: (random_jobs(rng, size),),
        hints=("...", "...", "..."),
    )

`args` is `(jobs,)` or `(jobs, knobs)`, so that a case can set knobs of its own: `(JOBS, {"batch_size": 3})`. A job may
have a fourth part, a dict with max_tokens, priority, deadline (seconds on the clock) or user. Requests are called
r0, r1, ... in the order of the jobs.

`drive` runs beside the learner's code and returns a *run*, plain data:

    steps      [{start, duration, slices: [[id, computed before, n], ...], emitted: [id, ...] (who got a token), rows: [id, ...]
               or None, span, padding, finished_rows, finished, refused: [[id, why], ...], preempted, blocks_free, blocks_total}]
    requests   {id: {arrival, prompt, output, first_token, finish, token_times, preemptions}}, times in seconds or None
    broken     None, or {rule, text}: the rule of the engine that a plan broke; steps holds what came before
    endless    None, or words: it was stopped after too many steps or too many plans that only wait

An exception in the learner's code is left to pass: `check` shows its line. The judge believes none of the times:
it carries out the recorded plans once more on an engine of its own, in the judge's process, and hands that run to the
rules. Plans that cannot be carried out are a broken rule.
"""

from ..task import Finding

QUIET = {"enable_prefix_caching": False}
WAITS = 20_000
FAIR = "every request gets all of its tokens"

RULES = {
    "plan() returns a Plan": "plan() must return a Plan on every path, also when there is nothing to do",
    "a plan changes nothing": "plan() moved requests between waiting and running. It only decides; the engine moves them later",
    "never idle without a reason": "your plan is empty although requests wait or run, and nothing will wake the engine again",
    "one slice per request": "your plan names one request twice",
    "only running requests are preempted": "your plan preempts a request that holds no KV",
    "no more KV than there is": "your plan takes more KV blocks than are free. Ask the ledger first: plan a request only if "
    "kv.take(request, n) says True",
    "at most max_num_seqs requests run": "your plan admits more requests than there are slots: max_num_seqs, less those running",
    "the token budget": "your plan computes more tokens in one step than the budget allows",
    "a rectangle is one block of rows": "the rows of your padded batch do not form one rectangle",
    "only known requests": "your plan names a request that the engine does not know",
    "no finished requests": "your plan names a request that is finished: it has nothing left to compute",
    "a slice has at least one token": "your plan gives a request no token at all: leave such a request out of plan.extend",
    "no more tokens than are left": "your plan gives a request more tokens than it has left (request.num_remaining_tokens)",
}


class Endless(Exception):
    """The scheduler asks for more steps, or waits more often, than any fair schedule needs."""


class Bench:
    """A simulated engine to try schedulers on. Knobs are those of EngineConfig; prefix caching is off unless asked for."""

    def __init__(self, model="llama-7b", gpu="A100-80G", **knobs):
        self.model, self.gpu, self.knobs = model, gpu, {**QUIET, **knobs}

    # ------------------------------------------------ for a Task
    def drive(self, answer, args):
        """The run of a learner's class on these jobs."""
        from minieng import Scheduler

        scheduler = answer() if isinstance(answer, type) else answer
        if not isinstance(scheduler, Scheduler):
            raise TypeError(f"this is no scheduler: begin it with `class {getattr(answer, '__name__', 'Mine')}(Scheduler):`")
        jobs, knobs = parts(args)
        return self._run(scheduler, jobs, knobs)

    def judge(self, rules):
        """`judge` for a Task: the engine's rules and fairness first, then `rules(args, run)` on a run made here."""

        def judge(args, got):
            run = self.replayed(args, got)
            return rule_broken(run) or goes_on_for_ever(run) or rules(tuple(args), run)

        return judge

    def valid(self, args):
        """Whether the jobs are fair: at least one, with a token to read and one to write, arrivals not before 0."""
        jobs, _ = parts(args)
        return bool(jobs) and all(len(j) >= 3 and j[0] >= 0 and j[1] >= 1 and j[2] >= 1 for j in jobs)

    def scene(self, args):
        """The call in words."""
        jobs, knobs = parts(args)
        told = "; ".join(f"r{i} at {j[0]:g} s, prompt {j[1]}, output {j[2]}" for i, j in enumerate(jobs[:12]))
        more = f"; ... {len(jobs)} in all" if len(jobs) > 12 else ""
        wanted = {k: v for k, v in {**self.knobs, **knobs}.items() if k not in QUIET}
        return told + more + "".join(f"; {k}={v}" for k, v in wanted.items())

    # ------------------------------------------------ for the judge
    def replayed(self, args, got):
        """The run that the recorded plans give on an engine of the judge's own; nothing else of `got` is believed."""
        jobs, knobs = parts(args)
        said = {key: got[key] for key in ("broken", "endless")}
        run = self._run(recorded(got["steps"]), jobs, knobs)
        if said["broken"] or said["endless"]:
            rule = said["broken"] and {key: str(said["broken"][key])[:400] for key in ("rule", "text")}
            run["broken"], run["endless"] = rule, said["endless"] and str(said["endless"])[:200]
        return run

    def reference(self, args, scheduler):
        """The run of one of the engine's own schedulers ("static", ...), for targets."""
        from minieng.scheduler import make_scheduler

        jobs, knobs = parts(args)
        return self._run(make_scheduler(scheduler), jobs, knobs)

    def _run(self, scheduler, jobs, knobs):
        from minieng import PlanError
        from minieng.sim.simulated import simulated_engine

        engine = simulated_engine(self.model, self.gpu, scheduler=scheduler, **{**self.knobs, **knobs})
        requests = [engine.add_request(request_of(i, job)) for i, job in enumerate(jobs)]
        most = 100 + 3 * sum(job[1] + job[2] for job in jobs)
        count_plans(scheduler, most)
        broken = endless = None
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


def parts(args):
    """(jobs, knobs) of the arguments of a call."""
    return args[0], dict(args[1]) if len(args) > 1 else {}


def request_of(number, job):
    from minieng.sim.executor import scripted_request

    arrival, prompt, output, *rest = job
    return scripted_request(number, prompt, output, arrival, name=f"r{number}", **(dict(rest[0]) if rest else {}))


def count_plans(scheduler, most):
    """Stop a scheduler that never comes to an end."""
    plan, steps, waits = scheduler.plan, [0], [0]

    def counted(now):
        made = plan(now)
        idle = not getattr(made, "extend", None)
        (waits if idle else steps)[0] += 1
        if steps[0] > most:
            raise Endless(f"it was stopped after {most} steps")
        if waits[0] > WAITS:
            raise Endless(f"it was stopped after {WAITS} plans that only wait")
        return made

    scheduler.plan = counted


def recorded(steps):
    """A scheduler that decides nothing: it names again what was planned, and waits in between as long as was waited."""
    from minieng import Plan, PlanError, Scheduler
    from minieng.plan import Refusal

    class Recorded(Scheduler):
        at = 0  # steps carried out

        def plan(self, now):
            if self.at >= len(steps):
                raise PlanError("never idle without a reason", "the record ends before every request is done")
            step = steps[self.at]
            if step["start"] > now:
                return Plan(wait_until=step["start"])
            known = {r.request_id: r for r in self.members}
            names = [s[0] for s in step["slices"]] + step["preempted"] + (step["rows"] or [])
            if not set(names) <= known.keys():
                raise PlanError("only known requests", "the record names a request that is not there")
            return Plan(
                extend=[(known[name], n) for name, _, n in step["slices"]],
                preempt=[known[name] for name in step["preempted"]],
                refuse=[Refusal(known[name], str(why)) for name, why in step["refused"] if name in known],
                rows=None if step["rows"] is None else [known[name] for name in step["rows"]],
                span=step["span"],
            )

        def leavers(self, done):
            gone = set(steps[self.at]["finished"])
            self.at += 1
            leaving = [r for r in self.running if r.request_id in gone]
            if not all(r.is_done for r in leaving):
                raise PlanError("a request leaves when it is done", "a request left before its last token")
            return leaving

    return Recorded()


def plain_step(record):
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


def plain_request(request, job):
    return {
        "arrival": request.arrival_time,
        "prompt": request.num_prompt_tokens,
        "output": job[2],
        "first_token": request.token_times[0] if request.token_times else None,
        "finish": request.finish_time,
        "token_times": list(request.token_times),
        "preemptions": request.num_preemptions,
    }


# ---------------------------------------------------------------- what a rule can ask of a run
def rule_broken(run):
    """A Finding when a plan broke one of the engine's rules, else None."""
    if not run["broken"]:
        return None
    rule, text = run["broken"]["rule"], run["broken"]["text"]
    when = f"In step {len(run['steps'])}, counted from 0" if run["steps"] else "In the first step"
    cause = f"{RULES.get(rule, f'your plan breaks the rule: {rule}')}. {when}: {text}"
    return Finding(f"the engine's rule: {rule}", cause, f"rule: {rule}", "a plan that keeps the rule", timeline(run))


def goes_on_for_ever(run):
    """A Finding when the run was stopped, with the requests that starved, else None."""
    if not run["endless"]:
        return None
    names = ", ".join(starved(run)) or "nobody"
    cause = f"the schedule comes to no end: {run['endless']}. Still unfinished: {names}"
    return Finding(FAIR, cause, "never ends", "all requests finished", timeline(run))


def starved(run):
    """The requests that never finished."""
    return [name for name, r in run["requests"].items() if r["finish"] is None]


def finished_late(run, limits):
    """{id: its finish} of the requests that finished later than `limits[id]` seconds, or not at all."""
    times = {name: run["requests"][name]["finish"] for name in limits}
    return {name: end for name, end in times.items() if end is None or end > limits[name] + 1e-9}


def steps_used(run):
    return len(run["steps"])


def last_finish(run):
    """When the last request finished, in seconds; None if one never did."""
    return None if starved(run) else max(r["finish"] for r in run["requests"].values())


def idle_slots(run, slots):
    """Slot-steps that computed nothing for anybody: `slots` in each step, less the requests given tokens."""
    return sum(slots - len(step["slices"]) for step in run["steps"])


def most_tokens(run):
    """(tokens, step) of the step that computed most, padding not counted."""
    return max(((sum(n for _, _, n in step["slices"]), i) for i, step in enumerate(run["steps"])), default=(0, 0))


def first_step(run, name):
    """The number of the step in which a request was first given tokens, or None."""
    return next((i for i, step in enumerate(run["steps"]) if any(s[0] == name for s in step["slices"])), None)


def waited(run):
    """{id: seconds between arrival and the start of its first step}; None for a request that never began."""
    firsts = {name: first_step(run, name) for name in run["requests"]}
    return {
        name: None if at is None else run["steps"][at]["start"] - run["requests"][name]["arrival"] for name, at in firsts.items()
    }


def largest_gap(run):
    """(seconds, id) of the longest time between two tokens of one request; (0.0, None) if nobody has two."""
    gaps = [
        (b - a, name)
        for name, r in run["requests"].items()
        for a, b in zip(r["token_times"], r["token_times"][1:])
    ]  # fmt: skip
    return max(gaps, default=(0.0, None))


def blocks_used(run):
    """The most KV blocks that were held after a step."""
    return max((step["blocks_total"] - step["blocks_free"] for step in run["steps"]), default=0)


def timeline(run, columns=16, rows=10):
    """The last steps as a text, a row for each request and a column for each step.

    A number: tokens computed for it. `=`: a finished row that computes on. `-`: holds KV, given nothing. `.`: waits.
    """
    steps, first = run["steps"], max(0, len(run["steps"]) - columns)
    if not steps:
        return "(not one step was carried out)"
    names = list(run["requests"])[:rows]
    grid = [[str(i) for i in range(first, len(steps))]]
    for name in names:
        grid.append([sign(steps, i, name, run["requests"][name]) for i in range(first, len(steps))])
    width = max((len(x) for row in grid for x in row), default=1)
    heads = ["step", *names]
    left = max(map(len, heads))
    lines = [f"{head.ljust(left)}  {' '.join(x.rjust(width) for x in row)}".rstrip() for head, row in zip(heads, grid)]
    return "\n".join(lines + (["..."] if len(run["requests"]) > rows else []))


def sign(steps, at, name, request):
    """What step `at` was for one request, in one word."""
    step = steps[at]
    for other, _, n in step["slices"]:
        if other == name:
            return str(n)
    if name in (step["rows"] or ()):
        return "="
    if request["arrival"] > step["start"] or any(name in s["finished"] for s in steps[:at]):
        return ""
    last = next((s for s in reversed(steps[: at + 1]) if name in s["preempted"] or any(x[0] == name for x in s["slices"])), None)
    return "." if last is None or name in last["preempted"] else "-"


def random_jobs(rng, size, spread=0.05, prompt=8, output=6):
    """A few random jobs in order of arrival; half of the time all are there at once. Sizes grow with `size` (1 to 8)."""
    count = rng.randint(1, 1 + size)
    step = spread if rng.random() < 0.5 else 0.0
    at, jobs = 0.0, []
    for _ in range(count):
        jobs.append([round(at, 3), rng.randint(1, 2 + prompt * size // 8), rng.randint(1, 1 + output * size // 8)])
        at += step * rng.random()
    return jobs
