"""What is installed does not depend on the order of installing."""

from collections import defaultdict
from importlib.metadata import distributions


def test_no_two_packages_write_the_same_file() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for package in distributions():
        for file in package.files or ():
            if ".." not in file.parts:  # programs in bin/ have owners of their own
                owners[str(file)].add(package.name)
    assert not {file: names for file, names in owners.items() if len(names) > 1}
