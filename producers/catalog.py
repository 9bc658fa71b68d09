"""What people use models for in a simulation: models that have list prices, and features with their workload."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A model that `genai-prices` prices. `writes_cache`: its provider bills cache writes apart."""

    provider: str
    name: str
    weight: float
    reasons: bool = False
    writes_cache: bool = False


MODELS = (
    Model("openai", "gpt-4o", 0.14),
    Model("openai", "gpt-4o-mini", 0.20),
    Model("openai", "gpt-4.1", 0.08),
    Model("openai", "gpt-5", 0.08, reasons=True),
    Model("openai", "gpt-5-mini", 0.07, reasons=True),
    Model("openai", "o3-mini", 0.03, reasons=True),
    Model("anthropic", "claude-sonnet-4-5", 0.14, writes_cache=True),
    Model("anthropic", "claude-haiku-4-5", 0.08, writes_cache=True),
    Model("anthropic", "claude-opus-4-1", 0.02, writes_cache=True),
    Model("google", "gemini-2.5-pro", 0.06, reasons=True),
    Model("google", "gemini-2.5-flash", 0.06, reasons=True),
    Model("mistral", "mistral-large-latest", 0.02),
    Model("deepseek", "deepseek-chat", 0.02),
)


@dataclass(frozen=True)
class Feature:
    """Where in the products a model is used; `weight` is its share within its workload."""

    name: str
    workload: str
    weight: float
    tool: str
    integration: str
    platform: str
    task_type: str


FEATURES = (
    Feature("code-completion", "code", 0.8, "editor", "vscode", "ide", "coding"),
    Feature("code-review", "code", 0.2, "reviewer", "github", "web", "review"),
    Feature("chat", "conversation", 0.6, "assistant", "", "web", "question"),
    Feature("support-answers", "conversation", 0.3, "helpdesk", "zendesk", "api", "ticket"),
    Feature("summaries", "conversation", 0.1, "meetings", "slack", "slack", "summary"),
    Feature("document-chat", "long_context", 0.7, "library", "drive", "web", "reading"),
    Feature("research-agent", "long_context", 0.3, "agent", "", "api", "investigation"),
)
WORKLOAD_SHARES = {"code": 0.4, "conversation": 0.4, "long_context": 0.2}
ENVIRONMENTS = {"production": 0.88, "staging": 0.08, "development": 0.04}
ERRORS = {"rate_limited": 0.5, "timeout": 0.3, "overloaded": 0.2}
FINISH_REASONS = {"stop": 0.93, "length": 0.04, "tool_calls": 0.03}
TITLES = (
    "Quarterly summary",
    "Fix flaky checkout test",
    "Answer open tickets",
    "Prepare customer proposal",
    "Review supplier contract",
    "Draft release notes",
    "Compare forecasts",
    "Migrate payment service",
)
