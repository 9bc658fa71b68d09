-- How many events have entries that re-rate them: how large the parts of the next question are.
SELECT count(DISTINCT source, corrects) AS events
FROM usage
WHERE kind = 'adjustment' AND adjustment_type IN ('re-rating', 'pricing', 'unpricing')
