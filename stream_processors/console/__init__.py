"""The console: what people do to budgets, over HTTP (`/v1`, for programs) and on a page (`/console`)."""
