-- Windows that were or are kept for the sake of budgets, besides those of the `standing` scope kinds.
SELECT DISTINCT window_kind, scope_kind
FROM window_entries
WHERE scope_kind NOT IN {standing:Array(String)}
ORDER BY scope_kind, window_kind
