"""The reader's task: made-up facts in documents and turns, and questions whose answer stands in one of them.

    The home of Ada is harbor. The pet of Ada is fox.   What is the home of Ada?  ->  harbor

A name comes with several facts and a relation with several names, so that only both together find the answer. Some
questions have no answer in the prompt (``unknown``), and some facts are contradicted by another part: then either value
is right, and a model that has learned the task gives each half of the probability. Names and values are paired at
random, so an answer can only be read and never be known. One triple of name, relation and value in ten is held out.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

UNKNOWN = "unknown"
NAMES = (
    "Ada Ben Cleo Dora Emil Fay Gus Hana Ivo Jana Kurt Lena Mara Nils Olga Pia Rolf Sara Tom Uma Vera Walt Yara Zeno "
    "Alma Boris Carl Dina Elsa Finn Greta Hugo Ines Jakob Karin Lars Mila Noor Otto Petra Rosa Sven Tilda Ulla Vito "
    "Wanda Xenia Yusuf"
).split()
TITLES = ["letter", "diary", "report", "note", "article", "list"]
FILLERS = [
    "The weather was fine that week.",
    "Nobody had expected so many guests.",
    "It was a quiet year.",
    "The rest of the page is empty.",
    "More will follow soon.",
    "The days were long and warm.",
]
SYSTEMS = ["Answer from the documents.", "Read with care and answer with one word."]
THANKS = "All right."


@dataclass(frozen=True)
class Relation:
    """How a fact is said (the value always comes last), how it is asked for, and its values."""

    facts: tuple[str, ...]
    questions: tuple[str, ...]
    values: tuple[str, ...]


def _relation(name: str, values: str) -> Relation:
    return Relation((f"The {name} of {{}} is {{}}.",), (f"What is the {name} of {{}}?",), tuple(values.split()))


RELATIONS = (
    _relation(
        "home",
        "harbor mill castle forest village tower barn valley "
        "school market island palace cottage station lighthouse abbey",
    ),
    _relation(
        "trade",
        "baker smith teacher tailor painter farmer sailor doctor judge potter miner weaver pilot cook gardener barber",
    ),
    _relation(
        "color",
        "red blue green yellow black white purple orange brown pink gray silver golden violet scarlet turquoise",
    ),
    _relation("pet", "cat dog rabbit parrot turtle pony goat goose hamster lizard snake mouse duck hen fox donkey"),
    _relation(
        "instrument",
        "flute violin piano drum trumpet harp guitar cello horn organ banjo oboe lute tuba bassoon accordion",
    ),
    _relation("drink", "tea coffee milk water juice cocoa cider lemonade beer wine broth soda punch mead rum whey"),
)
HELD_OUT_EVERY = 10
KINDS, KIND_SHARES = ("answerable", "unanswerable", "contradicting"), (0.6, 0.25, 0.15)
#: Training prompts with several questions that have a contradiction, asked for or not.
CONTRADICTED_SHARE = 0.4


@dataclass(frozen=True)
class Fact:
    """A value of a relation of a name."""

    name: str
    relation: int
    value: str

    @property
    def is_held_out(self) -> bool:
        """Whether the triple is kept for tests; the same on every machine."""
        return zlib.crc32(f"{self.name}/{self.relation}/{self.value}".encode()) % HELD_OUT_EVERY == 0

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.relation


@dataclass(frozen=True)
class Example:
    """A prompt, its last question and what is true of it.

    Attributes:
        messages: the turns up to and with the last question.
        documents: as chat templates take them: mappings with ``title`` and ``text``.
        kind: ``answerable``, ``unanswerable`` or ``contradicting``.
        answers: the right answers: one, or two that contradict each other.
        sources: per answer, the name of the part that says it: ``document 3`` or ``turn 2``, counted from one.
    """

    messages: tuple[dict[str, str], ...]
    documents: tuple[dict[str, str], ...]
    kind: str
    answers: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """How large prompts are.

    Attributes:
        documents: at most this many parts with facts.
        facts: at most this many facts in each.
        questions: how many questions are asked; all but the last are answered in the prompt.
        held_out: facts whose triples no training prompt has.
        in_turns: share of the parts that are turns or thoughts instead of documents.
    """

    documents: int = 4
    facts: int = 2
    questions: int = 1
    held_out: bool = False
    in_turns: float = 0.15


@dataclass
class _World:
    """Facts that are said in one prompt, by the part in which they stand."""

    said: dict[tuple[str, int], list[tuple[Fact, str]]] = field(default_factory=dict)

    def add(self, fact: Fact, part: str) -> None:
        self.said.setdefault(fact.key, []).append((fact, part))


def example(generator: random.Random, shape: Shape, kind: str | None = None) -> Example:
    """A random prompt with `shape.questions` questions; `kind` is that of the last one, or random."""
    kind = kind or generator.choices(KINDS, KIND_SHARES)[0]
    world = _World()
    names = generator.sample(NAMES, generator.randint(3, min(len(NAMES), 4 + 2 * shape.documents)))
    contents = _contents(generator, shape, world, names)
    if kind == "contradicting" or (shape.questions > 1 and generator.random() < CONTRADICTED_SHARE):
        _contradict(generator, world, contents, shape.held_out)
    documents, messages, places = _placed(generator, shape, contents)
    world = _World({key: [(fact, places[part]) for fact, part in said] for key, said in world.said.items()})
    earlier = [generator.choices(KINDS, KIND_SHARES)[0] for _ in range(shape.questions - 1)]
    asked: set[tuple[str, int]] = set()
    answers: tuple[str, ...] = ()
    for number, wanted in enumerate([*earlier, kind]):
        if number:
            messages.append({"role": "assistant", "content": generator.choice(answers)})
        # The fact that is contradicted is left for the last question, where that is to ask for it.
        apart = {"contradicting"} if kind == "contradicting" and number < shape.questions - 1 else set()
        kind_asked, key = _question(generator, world, wanted, names, asked, apart)
        said = world.said.get(key, [])
        answers = tuple(fact.value for fact, _ in said) or (UNKNOWN,)
        asked.add(key)
        question = generator.choice(RELATIONS[key[1]].questions).format(key[0])
        messages.append({"role": "user", "content": question})
    return Example(tuple(messages), tuple(documents), kind_asked, answers, tuple(part for _, part in said))


def vocabulary() -> list[str]:
    """Every word and mark that prompts and answers can contain, lower-cased."""
    texts = [*FILLERS, *SYSTEMS, THANKS, *TITLES, *NAMES, UNKNOWN]
    for relation in RELATIONS:
        texts += [*relation.facts, *relation.questions, *relation.values]
    spaced = " ".join(texts).replace("{}", " ").replace(".", " . ").replace("?", " ? ").lower()
    extra = "document documents fact facts question answer who and or but says 1 2 3 4 5 6 7 8 9 0 : , ! - ' \"".split()
    return sorted({*spaced.split(), *extra})


def _contents(generator: random.Random, shape: Shape, world: _World, names: list[str]) -> list[list[str]]:
    """Sentences of each part; the world learns what they say, by the number of the part."""
    contents: list[list[str]] = []
    for part in range(generator.randint(1, shape.documents)):
        sentences = []
        for _ in range(generator.randint(1, shape.facts)):
            fact = _new_fact(generator, world, names, shape.held_out)
            if fact is None:
                continue
            world.add(fact, str(part))
            sentences.append(_said(generator, fact))
        if not sentences or generator.random() < 0.3:
            sentences.insert(generator.randint(0, len(sentences)), generator.choice(FILLERS))
        contents.append(sentences)
    return contents


def _new_fact(generator: random.Random, world: _World, names: list[str], held_out: bool) -> Fact | None:
    for _ in range(8):
        name, relation = generator.choice(names), generator.randrange(len(RELATIONS))
        # Two values at least, so that the fact can be contradicted.
        if (name, relation) not in world.said and len(_facts(name, relation, held_out)) > 1:
            return _fact(generator, name, relation, held_out, but=())
    return None


def _fact(generator: random.Random, name: str, relation: int, held_out: bool, but: tuple[str, ...]) -> Fact:
    return generator.choice([fact for fact in _facts(name, relation, held_out) if fact.value not in but])


def _facts(name: str, relation: int, held_out: bool) -> list[Fact]:
    """What may be said of a relation of a name."""
    facts = [Fact(name, relation, value) for value in RELATIONS[relation].values]
    return [fact for fact in facts if fact.is_held_out == held_out]


def _contradict(generator: random.Random, world: _World, contents: list[list[str]], held_out: bool) -> None:
    """Say another value of one fact in another part."""
    if len(contents) < 2:
        contents.append([generator.choice(FILLERS)])
    if not world.said:
        fact = _fact(
            generator, generator.choice([n for n in NAMES if len(_facts(n, 0, held_out)) > 1]), 0, held_out, ()
        )
        world.add(fact, "0")
        contents[0].append(_said(generator, fact))
    key = generator.choice(list(world.said))
    (first, part), *_ = world.said[key]
    other = _fact(generator, *key, held_out=held_out, but=(first.value,))
    place = generator.choice([number for number in range(len(contents)) if str(number) != part])
    contents[place].insert(generator.randint(0, len(contents[place])), _said(generator, other))
    world.add(other, str(place))


def _said(generator: random.Random, fact: Fact) -> str:
    return generator.choice(RELATIONS[fact.relation].facts).format(fact.name, fact.value)


def _placed(
    generator: random.Random, shape: Shape, contents: list[list[str]]
) -> tuple[list[dict[str, str]], list[dict[str, str]], dict[str, str]]:
    """Documents and turns of the parts, and the name of each part by its number."""
    documents: list[dict[str, str]] = []
    messages: list[dict[str, str]] = []
    places: dict[str, str] = {}
    if generator.random() < 0.5:
        messages.append({"role": "system", "content": generator.choice(SYSTEMS)})
    for part, sentences in enumerate(contents):
        text = " ".join(sentences)
        if generator.random() >= shape.in_turns:
            documents.append({"title": generator.choice(TITLES), "text": text})
            places[str(part)] = f"document {len(documents)}"
            continue
        role = generator.choice(["user", "tool", "thought"])
        if role == "thought":
            messages.append({"role": "assistant", "reasoning_content": text, "content": THANKS})
        else:
            messages.append({"role": role, "content": text})
        places[str(part)] = f"turn {len(messages)}"
    return documents, messages, places


def _question(
    generator: random.Random, world: _World, kind: str, names: list[str], asked: set[tuple[str, int]], apart: set[str]
) -> tuple[str, tuple[str, int]]:
    """A question of this kind that was not asked before, or else one without an answer; its kind and its key."""
    said = {key: facts for key, facts in world.said.items() if key not in asked}
    pools = {
        "answerable": [key for key, facts in said.items() if len(facts) == 1],
        "contradicting": [key for key, facts in said.items() if len(facts) > 1],
    }
    pool = [] if kind in apart else pools.get(kind, [])
    if pool:
        return kind, generator.choice(pool)
    # A name and a relation that occur, though not together, are the hardest question without an answer.
    keys = [(name, relation) for name in NAMES for relation in range(len(RELATIONS))]
    free = [key for key in keys if key not in world.said and key not in asked]
    close = [key for key in free if key[0] in names]
    return "unanswerable", generator.choice(close or free)
