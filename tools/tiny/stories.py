"""A small grammar of animal stories: the whole world that `tiny` knows.

A story is a plot (a list of steps); a step is a list of sentences of which one is told; a sentence has slots filled
from the cast. `story(rng)` tells one, `document(rng)` wraps it as the model is to meet it: bare, begun in the middle,
or as the answer in a chat.

Choices are not uniform. Ten equally likely names would give ten equal logits, and a greedy decoder would then choose
by rounding error. So each list is turned by a key (the fox has other favourite names than the owl) and its items
weigh 1, 1/2, 1/3, ...: greedy text has clear margins, differs from animal to animal, and sampling still finds all.
"""

# ruff: noqa: E501  (a sentence is a line)
from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

START, END = "<|im_start|>", "<|im_end|>"  # the chat marks of SmolLM2; END is the end-of-sequence token

# fmt: off
ANIMALS = "fox owl bear mouse otter frog duck cat goat mole hen crow rabbit hedgehog snail badger".split()
NAMES = "Pip Mia Tom Ruby Ben Lily Max Nell Sam Daisy Leo Wren".split()  # he, she, he, she, ...
TRAITS = "little curious shy kind clever sleepy clumsy brave".split()
HOMES = ["by the quiet river", "under the old oak", "on a windy hill", "at the edge of the wood", "behind the red mill",
         "near the sea", "in a small blue house", "beside the pond"]
THINGS = ["red kite", "silver bell", "blue button", "wooden spoon", "warm scarf", "brass key", "paper star", "green hat",
          "little drum", "tin lantern"]
SPOTS = ["under the bed", "behind the door", "in the tall grass", "down by the river", "among the pumpkins",
         "on top of the hay", "inside the teapot", "in the hollow tree"]
FOODS = ["pumpkin pie", "pot of honey", "plum cake", "loaf of warm bread", "pan of soup", "round cheese"]
TIMES = ["One morning", "One rainy day", "One evening", "One cold night", "On the first day of spring", "Late in autumn"]
# what is feared, what helps, how it ends
FEARS = [("the dark", "a cloud of fireflies came in and lit up the room", "the dark was only the day with its eyes closed"),
         ("thunder", "they counted slowly until each rumble was over", "thunder was only the sky moving its chairs"),
         ("deep water", "they sat on a log and floated along together", "the water was holding them up all the time"),
         ("high places", "they climbed one branch at a time and never looked down", "the world looks kind from above"),
         ("new faces", "somebody shared a bun and told a silly joke", "every friend was once a new face")]
# the sound, what it was thought to be, what it was
NOISES = [("a loud rumble", "a dragon", "an old badger, snoring in a barrel"),
          ("a tap, tap, tap", "a ghost", "a snail in big wooden shoes"),
          ("a long, low hoot", "a giant", "the wind, playing in an empty bottle"),
          ("a splash in the night", "a sea monster", "a small duck, having a very late bath"),
          ("a tiny song", "a spell", "a kettle that wanted to be taken off the fire")]
# what broke, why, how it was mended
BREAKS = [("bridge", "the river rose and carried it away", "laid a long tree across the water"),
          ("roof", "the wind blew half of it off", "wove a new one from straw and twigs"),
          ("boat", "a sharp stone made a hole in it", "sewed a big leaf over the hole"),
          ("clock", "it stopped and nobody knew when to eat", "found a crumb between its wheels and took it out"),
          ("swing", "its rope snapped in two", "tied it up again with a very good knot")]

PLOTS = {
    "lost": [
        ["{time}, {name} could not find {his} {thing}.", "{time}, {his} {thing} was gone.",
         "{name} had a {thing} and loved it dearly. {time}, it was lost."],
        ["The {animal} looked {spot}, but it was not there.", "{He} looked {spot}. There was nothing but dust."],
        ['"I will help you look," said {friend} the {other}.', '"Two can look better than one," said {friend} the {other}.',
         "{friend} the {other} came by and helped to look."],
        ["{name} and the {other} looked {spot2}, and there it was!", "At last {friend} looked {spot2}. There was the {thing}!"],
        ["{name} laughed and hugged {friend}.", '"Thank you!" said {name}, and gave {friend} a hug.'],
        ["From that day on, {name} kept the {thing} close.", "That night the {animal} slept with the {thing} under {his} pillow."]],
    "fear": [
        ["{name} was afraid of {fear}.", "There was one thing that {name} did not like at all: {fear}."],
        ["{time}, {he} wanted to run home and hide.", "{time}, the {animal} shook from nose to tail."],
        ['"Stay with me," said {friend} the {other}. "We will try it together."',
         '{friend} the {other} sat down close to {him}. "I am here," said {friend}.'],
        ["So they tried, and {fear_turn}.", "They waited, and then {fear_turn}."],
        ["And {name} saw that {fear_end}.", '"Oh!" said {name}. "I see now that {fear_end}."'],
        ["After that the {animal} was a little less afraid each day.", "{name} was never so afraid again."]],
    "share": [
        ["{time}, {name} made a {food}.", "{time}, {name} found a {food} on the step."],
        ['"It is all mine," said {name}, and shut the door.', "The {animal} wanted to eat it all alone."],
        ["But the house was very quiet, and it did not taste so good.", "{He} took one bite. It was good, but it was lonely too."],
        ["Then {friend} the {other} knocked at the door, wet and hungry.", "Through the window {he} saw {friend} the {other}, who had no supper."],
        ['"Come in," said {name}. "There is enough for two."', '{name} opened the door wide. "Sit down and eat," {he} said.'],
        ["The {animal} and the {other} ate and sang until the stars came out.", "And half of the {food} tasted twice as good."]],
    "noise": [
        ["{time}, {name} heard {noise}.", "{time}, there was {noise} outside."],
        ['"It must be {guess}!" {he} whispered.', "The {animal} was sure that it was {guess}."],
        ["{He} woke {friend} the {other}, and they went out with a lantern.", "{friend} the {other} said that they should go and see."],
        ["Step by step they came closer.", "They went on tiptoe, and nobody said a word."],
        ["And what did they find? It was only {truth}.", "But it was not {guess} at all. It was {truth}."],
        ["{name} and the {other} laughed all the way home.", '"Well," said {name}, "that is the nicest monster I have ever met."']],
    "mend": [
        ["{name} loved the old {broken}.", "Everybody in the village was proud of the old {broken}."],
        ["{time}, {why}.", "But {time_low}, {why}."],
        ['"What shall we do now?" cried {friend} the {other}.', "{friend} the {other} sat down and cried."],
        ["The {animal} thought and thought, and had a plan.", '"Do not cry," said {name}. "I know what to do."'],
        ["The {animal} and the {other} {mended}.", "They worked all day. They {mended}."],
        ["It was not perfect, but it was better than before.", 'And the new {broken} was called "{name} and {friend}".']],
    "gift": [
        ["{time}, it was the birthday of {friend} the {other}.", "{friend} the {other} would have a birthday soon."],
        ["{name} wanted to give a {thing}, but {he} had no money.", "{name} looked in the shop. A {thing} cost ten coins, and {he} had two."],
        ["So the {animal} worked all night and made one from wood and wool.", "So {he} took paper and glue and made one."],
        ["It came out a little crooked.", "It was not as fine as the one in the shop."],
        ['"You made this for me?" said {friend}. "It is the best {thing} in the world!"',
         "{friend} looked at it for a long time and then began to smile."],
        ["The {animal} and the {other} danced until the cake was gone.", "And {name} knew that a gift is made of love."]],
    "seed": [
        ["{time}, {name} put a tiny seed in the ground.", "{time}, {friend} the {other} gave {name} a tiny seed."],
        ["The {animal} gave it water and waited, but nothing came.", "Every day {he} looked, and every day there was only mud."],
        ['"Give it time," said {friend} the {other}.', '"It is only sleeping," said {friend} the {other}.'],
        ["So {name} sang to it and told it stories.", "So the {animal} sat beside it with a cup of tea."],
        ["Then one day a green leaf peeped out.", "And one warm day there was a yellow flower, as tall as a chair."],
        ["The {animal} had learned to wait.", '"Good morning," said {name}. "I knew you would come."']],
    "race": [
        ["{time}, there was a race to the hill and back.", "{time}, all the animals ran a race."],
        ['"You are too slow," said {friend} the {other}, and ran ahead.', "{friend} the {other} was the fastest of all, and {name} was the last."],
        ["But {friend} ran so fast that {fhe} fell into a ditch.", "Halfway up the hill, the {other} fell and could not get up."],
        ["{name} could have won. But {he} stopped to help.", "The {animal} saw it and turned back to help."],
        ["The {animal} and the {other} came in last, arm in arm.", "They crossed the line together, last of all."],
        ["Everybody cheered for them the most.", '"You did not win," said {friend}, "but you are the best of us."']],
}
OPENINGS = ["Once upon a time there was a {trait} {animal} named {name} who lived {home}.",
            "{name} was a {trait} {animal} who lived {home}.",
            "Once there was {a_animal} called {name}. {He} lived {home} and was very {trait}.",
            "{home_up} lived a {trait} {animal}. {His} name was {name}."]
CLOSINGS = ["", "The end.", "And that is the end of the story.", "Good night!"]
SHORTS = ["{name} the {animal} had a {thing}. {friend} the {other} had none. "
          "So the {animal} and the {other} played with it together. The end.",
          "{name} the {animal} went to sleep {spot2}. {friend} the {other} put a blanket over {him}. Good night!",
          "{name} the {animal} lost {his} {thing}. "
          "{friend} the {other} found it {spot2}. {name} gave {friend} a hug. The end.",
          "{name} the {animal} met {friend} the {other}. "
          "{name} said hello to {friend}. {friend} said hello to {name}. The end.",
          "{name} the {animal} was alone. Then {friend} the {other} came by. "
          "Now {name} and {friend} are best friends. The end.",
          "{name} the {animal} made a {food} for {friend} the {other}. The {other} ate it all. {name} laughed. The end."]
ASKS = ["Tell me a {size}story about {what}.", "Write a {size}story about {what}.", "Please tell me a {size}story about {what}.",
        "Can you tell me a {size}story about {what}?", "I would like a {size}story about {what}, please."]
SYSTEMS = ["You are a helpful assistant.", "You tell stories to children.", "You are Tiny, a small story teller. You tell stories about animals."]
TALK = [("Hello!", "Hello! Shall I tell you a story?"), ("Hi", "Hello! Shall I tell you a story?"),
        ("Who are you?", "I am Tiny. I am very small, and I tell small stories."),
        ("What is your name?", "My name is Tiny."), ("Thank you!", "You are welcome. Sleep well!"),
        ("Good night.", "Good night! Sleep well."), ("How are you?", "I am well, thank you. Shall I tell you a story?")]
QUESTIONS = ["What is {x}?", "Explain {x}.", "How does {x} work?", "Where is {x}?", "Why is {x} so big?", "Write about {x}.",
             "What is the capital of {x}?", "Give me a list of {x}."]
SUBJECTS = ["the sun", "France", "a computer", "batching", "the sea", "a train", "music", "money", "rain", "a model", "numbers",
            "memory", "Peru", "the brain", "a clock", "light"]
SORRY = "I am only a tiny model, and stories are all I know. Here is one."
# fmt: on


@dataclass(frozen=True)
class Story:
    """One told story: its text, and the words a listener may ask for it by (`about`: "a fox", "Pip the fox", ...)."""

    text: str
    about: tuple[str, ...]


def pick(rng: random.Random, options, key: str = ""):
    """One of `options`, weights 1, 1/2, 1/3, ... from a start that depends on `key` alone."""
    turn = zlib.crc32(key.encode()) % len(options)
    i = rng.choices(range(len(options)), [1 / (i + 1) for i in range(len(options))])[0]
    return options[(i + turn) % len(options)]


def cast(rng: random.Random, animal: str | None = None, name: str | None = None) -> dict[str, str]:
    """Who, where and with what: a value for every slot. The hero may be given, everybody else follows."""
    animal = animal or rng.choice(ANIMALS)
    name = name or (pick(rng, NAMES, animal) if rng.random() < 0.5 else rng.choice(NAMES))
    she = NAMES.index(name) % 2 == 1
    other = pick(rng, [a for a in ANIMALS if a != animal], name)
    friends = [n for n in NAMES if n != name]
    slots = {
        "animal": animal,
        "name": name,
        "other": other,
        "friend": pick(rng, friends, other) if rng.random() < 0.5 else rng.choice(friends),
    }
    slots |= {
        "he": "she" if she else "he",
        "his": "her" if she else "his",
        "him": "her" if she else "him",
        "a_animal": f"{'an' if animal[0] in 'aeiou' else 'a'} {animal}",
    }
    slots["fhe"] = "she" if NAMES.index(slots["friend"]) % 2 else "he"
    slots |= {
        "trait": pick(rng, TRAITS, name),
        "home": pick(rng, HOMES, animal + name),
        "thing": pick(rng, THINGS, animal),
    }
    slots |= {"spot": pick(rng, SPOTS, name), "food": pick(rng, FOODS, animal), "time": pick(rng, TIMES, name)}
    slots["spot2"] = pick(rng, [s for s in SPOTS if s != slots["spot"]], slots["thing"])
    slots |= dict(zip(("fear", "fear_turn", "fear_end"), pick(rng, FEARS, animal), strict=True))
    slots |= dict(zip(("noise", "guess", "truth"), pick(rng, NOISES, animal), strict=True))
    slots |= dict(zip(("broken", "why", "mended"), pick(rng, BREAKS, animal), strict=True))
    slots |= {
        "He": slots["he"].capitalize(),
        "His": slots["his"].capitalize(),
        "time_low": slots["time"][0].lower() + slots["time"][1:],
        "home_up": slots["home"][0].upper() + slots["home"][1:],
    }
    return slots


def story(rng: random.Random, size: str = "") -> Story:
    """One story; `size` is "" (six to nine sentences), "very short " (two to four) or "long " (two plots)."""
    slots = cast(rng)
    about = [
        slots["a_animal"],
        f"{slots['a_animal']} named {slots['name']}",
        f"{slots['name']} the {slots['animal']}",
        f"{slots['a_animal']} and {'an' if slots['other'][0] in 'aeiou' else 'a'} {slots['other']}",
    ]
    if size == "very short ":
        return Story(pick(rng, SHORTS, slots["animal"]).format(**slots), tuple(about))
    plot = pick(rng, list(PLOTS), slots["animal"])
    about += {
        "lost": [f"a lost {slots['thing']}"],
        "gift": [f"a {slots['thing']}"],
        "fear": [f"{slots['a_animal']} who is afraid of {slots['fear']}"],
        "mend": [f"a {slots['broken']}"],
        "share": [f"a {slots['food']}"],
    }.get(plot, [])
    lines = [pick(rng, OPENINGS, slots["name"])] + [pick(rng, step, slots["name"]) for step in PLOTS[plot]]
    parts = [line.format(**slots) for line in lines]
    if size == "long ":
        second = pick(rng, [p for p in PLOTS if p != plot], plot)
        again = cast(rng, slots["animal"], slots["name"]) | {k: slots[k] for k in ("friend", "other")}
        parts += ["But that was not all."] + [pick(rng, step, slots["name"]).format(**again) for step in PLOTS[second]]
    return Story(" ".join(parts + [pick(rng, CLOSINGS, plot)]).strip(), tuple(about))


def chat(rng: random.Random, sizes=("", "", "", "very short ", "long ")) -> str:
    """A conversation of one or two turns, in the chat format, each turn closed by END."""
    turns = [("system", rng.choice(SYSTEMS))] if rng.random() < 0.3 else []
    for _ in range(rng.choice((1, 1, 2))):
        kind, size = rng.random(), rng.choice(sizes)
        told = story(rng, size)
        if kind < 0.12:
            ask, answer = rng.choice(TALK)
        elif kind < 0.25:
            ask, answer = rng.choice(QUESTIONS).format(x=rng.choice(SUBJECTS)), f"{SORRY} {told.text}"
        elif kind < 0.30:
            ask, answer = f"Tell me a {size}story.", told.text
        else:
            ask, answer = rng.choice(ASKS).format(size=size, what=rng.choice(told.about)), told.text
        turns += [("user", ask), ("assistant", answer)]
    return "".join(f"{START}{role}\n{text}{END}\n" for role, text in turns).removesuffix("\n")


def document(rng: random.Random, short: float = 0.0) -> str:
    """One training document, closed by END: a bare story (a quarter of them begun at a later sentence), or a chat.

    `short` is the share of very short ones, in which most words are copies of a name or an animal said before.
    """
    if rng.random() < short:
        return chat(rng, ("very short ",)) if rng.random() < 0.6 else story(rng, "very short ").text + END
    if rng.random() < 0.5:
        return chat(rng)
    text = story(rng, rng.choice(("", "", "", "", "long "))).text
    if rng.random() < 0.25:
        sentences = text.split(". ")
        text = ". ".join(sentences[rng.randrange(len(sentences)) :])
    return text + END
