"""Small annotated sentences that the tests write themselves."""

from __future__ import annotations

import itertools

#: word, part of speech, governor (1-based), relation, sense, roles per predicate
ROWS = """\
# sent_id = one
# text = The dog didn't chase a very big cat.
1	The	the	DET	DT	_	2	det	_	_	_	_
2	dog	dog	NOUN	NN	_	5	nsubj	_	_	_	ARG0
3-4	didn't	_	_	_	_	_	_	_	_	_	_
3	did	do	AUX	VBD	_	5	aux	_	_	_	_
4	n't	not	PART	RB	_	5	advmod	_	_	_	ARGM-NEG
5	chase	chase	VERB	VB	_	0	root	_	_	chase.01	V
6	a	a	DET	DT	_	9	det	_	_	_	_
7	very	very	ADV	RB	_	8	advmod	_	_	_	_
8	big	big	ADJ	JJ	_	9	amod	_	_	_	_
9	cat	cat	NOUN	NN	_	5	obj	_	SpaceAfter=No	_	ARG1
10	.	.	PUNCT	.	_	5	punct	_	_	_	_
"""

NOUNS = "dog cat bird horse child farmer doctor teacher".split()
VERBS = "saw chased heard found liked".split()


def treebank(sentences: int = 40) -> str:
    """ "The dog saw a cat ." with changing nouns, verbs and adjectives, as CoNLL-U."""
    blocks = []
    choices = itertools.product(NOUNS, VERBS, reversed(NOUNS))
    for number, (first, verb, second) in enumerate(itertools.islice(choices, sentences)):
        words = [("The", "DET", 2, "det"), (first, "NOUN", 3, "nsubj"), (verb, "VERB", 0, "root")]
        words += [("a", "DET", 5, "det"), (second, "NOUN", 3, "obj"), (".", "PUNCT", 3, "punct")]
        if number % 2:
            words = [(word, pos, governor + (governor >= 2), relation) for word, pos, governor, relation in words]
            words.insert(1, ("big", "ADJ", 3, "amod"))
        lines = [f"# sent_id = s{number}"]
        for index, (word, pos, governor, relation) in enumerate(words, start=1):
            lines.append(f"{index}\t{word}\t{word}\t{pos}\t_\t_\t{governor}\t{relation}\t_\t_")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n\n"
