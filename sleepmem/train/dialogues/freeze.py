"""Freeze the entity lists of Faker into `entities.json`, so that data never changes by an upgrade.

    python -m sleepmem.train.dialogues.freeze

Run it by hand and train anew afterwards: which entities are held out, and how words are cut into
pieces, follow from the lists. Needs Faker, which nothing else does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("entities.json")
PEOPLE = "en_US en_GB en_IE en_NZ de_DE es_ES fr_FR it_IT nl_NL pl_PL pt_PT sv_SE da_DK no_NO cs_CZ"
PLACES = "de_DE da_DK nl_NL pl_PL pt_PT fi_FI sv_SE"
JOB = r"[a-z]{2,9}(er|or|ist|ian|ant|ary|eon|ect|man)"
MANY = 1200  # of a kind; more would not make the split any stricter


def main() -> None:
    """Write the lists, each sorted, plain ASCII words of 3 to 8 letters."""
    lists = {
        "woman": _plain(_of("person", PEOPLE, "first_names_female")),
        "man": _plain(_of("person", PEOPLE, "first_names_male")),
        "surname": _plain(_of("person", "en_US en_GB", "last_names")),
        "place": _plain(_of("address", PLACES, "cities")),
        "job": _jobs(_of("job", "en_US", "jobs")),
        "word": _plain(word for word in _of("lorem", "en_US", "word_list") if len(word) > 4),
    }
    document = {"faker": version("faker"), **lists}
    FILE.write_text(json.dumps(document, separators=(",", ":")) + "\n")


def _of(provider: str, locales: str, name: str) -> list[str]:
    found: list[str] = []
    for locale in locales.split():
        module: Any = import_module(f"faker.providers.{provider}.{locale}")
        found += getattr(module.Provider, name, ())
    return found


def _plain(words: Iterable[str]) -> list[str]:
    plain = {word for word in words if word.isascii() and word.isalpha() and 3 <= len(word) <= 8}
    return _spread(sorted(plain))


def _jobs(names: Iterable[str]) -> list[str]:
    """Keep jobs of one word that say so by their ending: "Engineer, civil" is an engineer."""
    words = {name.split(",")[0].lower() for name in names}
    return sorted(word for word in words if re.fullmatch(JOB, word))


def _spread(words: list[str]) -> list[str]:
    """Thin a long list evenly over the alphabet."""
    n_kept = min(MANY, len(words))
    return [words[i * len(words) // n_kept] for i in range(n_kept)]


if __name__ == "__main__":
    main()
