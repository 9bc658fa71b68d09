"""Who uses models in a simulation: organizations that share the names of their departments and users.

Every organization has the same departments, and users of the same names: whatever is not qualified by its
organization adds up wrongly, and is seen to.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

ORGANIZATIONS = {"acme": 0.6, "globex": 0.3, "initech": 0.1}
USERS_PER_DEPARTMENT = 24


@dataclass(frozen=True)
class Department:
    """A department; `code` and `other` are its shares of code and of all other requests."""

    name: str
    business_unit: str
    cost_center: str
    teams: tuple[str, ...]
    projects: tuple[str, ...]
    code: float
    other: float


DEPARTMENTS = (
    Department(
        "engineering",
        "product",
        "cc-100",
        ("platform", "payments", "mobile"),
        ("checkout", "ledger", "mobile-app", "search-index", "sdk"),
        0.80,
        0.25,
    ),
    Department(
        "research",
        "product",
        "cc-110",
        ("applied", "evaluation"),
        ("forecasting", "benchmarks", "labeling"),
        0.15,
        0.15,
    ),
    Department("sales", "market", "cc-200", ("emea", "americas"), ("outreach", "proposals", "crm"), 0.0, 0.15),
    Department("marketing", "market", "cc-210", ("content", "brand"), ("website", "campaigns"), 0.0, 0.12),
    Department("support", "market", "cc-220", ("tier-1", "tier-2"), ("helpdesk", "knowledge-base"), 0.02, 0.22),
    Department("finance", "corporate", "cc-300", ("accounting",), ("closing", "audit-prep"), 0.03, 0.06),
    Department("legal", "corporate", "cc-310", ("contracts",), ("contract-review", "compliance"), 0.0, 0.05),
)
_FIRST = ("alex", "bea", "chen", "dana", "emil", "fatima", "george", "hana", "ivan", "julia", "kofi", "lena")
_LAST = ("adams", "berg", "costa", "diaz", "evans", "fischer", "garcia", "huang", "ito", "jansen", "khan", "lopez")


@dataclass(frozen=True)
class People:
    """All users, one row each: dictionary codes into the names, and how likely each is to ask."""

    names: dict[str, pa.Array]
    codes: dict[str, Codes]
    project_start: Codes
    project_count: Codes
    code_weights: Floats  # cumulative, 0 to 1
    other_weights: Floats

    def columns(self, users: Codes) -> dict[str, pa.Array]:
        """The scopes of these users (row numbers) as dictionary columns."""
        return {
            name: pa.DictionaryArray.from_arrays(pa.array(codes[users]), self.names[name])
            for name, codes in self.codes.items()
        }

    def projects(self, users: Codes, uniform: Floats) -> pa.Array:
        """A project of each user's department; the first ones are the busier."""
        picked = (uniform**2 * self.project_count[users]).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(self.project_start[users] + picked), self.names["project"])

    def pick(self, code: npt.NDArray[np.bool_], uniform: Floats) -> Codes:
        """Users (row numbers) for requests that are code requests or not."""
        coders = np.searchsorted(self.code_weights, uniform, side="right")
        others = np.searchsorted(self.other_weights, uniform, side="right")
        return np.where(code, coders, others).astype(np.int32)


def people() -> People:
    """The same users in every simulation: only what they do depends on its seed."""
    rows = [
        (organization, department, number)
        for organization in ORGANIZATIONS
        for department in DEPARTMENTS
        for number in range(USERS_PER_DEPARTMENT)
    ]
    scopes = {
        "organization": [organization for organization, _, _ in rows],
        "business_unit": [department.business_unit for _, department, _ in rows],
        "cost_center": [department.cost_center for _, department, _ in rows],
        "department": [department.name for _, department, _ in rows],
        "team": [department.teams[number % len(department.teams)] for _, department, number in rows],
        "user": [_user_name(DEPARTMENTS.index(department), number) for _, department, number in rows],
    }
    encoded = {name: pa.array(values).dictionary_encode() for name, values in scopes.items()}
    projects = [project for department in DEPARTMENTS for project in department.projects]
    size = np.array([len(department.projects) for _, department, _ in rows], np.int32)
    start = np.array([projects.index(department.projects[0]) for _, department, _ in rows], np.int32)
    return People(
        names={name: column.dictionary for name, column in encoded.items()} | {"project": pa.array(projects)},
        codes={name: column.indices.to_numpy() for name, column in encoded.items()},
        project_start=start,
        project_count=size,
        code_weights=_cumulative([ORGANIZATIONS[o] * d.code / (number + 3) for o, d, number in rows]),
        other_weights=_cumulative([ORGANIZATIONS[o] * d.other / (number + 3) for o, d, number in rows]),
    )


def _user_name(department: int, number: int) -> str:
    index = department * USERS_PER_DEPARTMENT + number
    suffix = index // (len(_FIRST) * len(_LAST)) + 1
    name = f"{_FIRST[index % len(_FIRST)]}.{_LAST[index // len(_FIRST) % len(_LAST)]}"
    return name if suffix == 1 else f"{name}.{suffix}"


def _cumulative(weights: list[float]) -> Floats:
    sums = np.cumsum(weights)
    cumulative = sums / sums[-1]
    cumulative[-1] = 1.0
    return np.asarray(cumulative, np.float64)
