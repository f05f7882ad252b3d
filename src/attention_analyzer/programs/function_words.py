"""Words of English that belong to closed classes: articles, pronouns, prepositions, conjunctions, auxiliaries."""

from __future__ import annotations

FUNCTION_WORDS = frozenset(
    """
    a an the this that these those my your his her its our their some any no every each either neither both all
    i you he she it we they me him us them mine yours hers ours theirs myself yourself himself herself itself ourselves
    themselves who whom whose which what one
    about above across after against along among around as at before behind below beneath beside between beyond by down
    during except for from in inside into like near of off on onto out outside over past since through throughout till
    to toward towards under until up upon with within without
    and but or nor so yet if because although though while whereas unless than whether when where why how
    am is are was were be been being have has had having do does did doing will would shall should can could may might
    must ought not n't don't didn't won't wasn't isn't aren't can't couldn't wouldn't it's i'm
    there here then too very just only also even
    """.split()
)
