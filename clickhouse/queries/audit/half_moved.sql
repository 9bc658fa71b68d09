-- Uses of which a pair of entries that moves them to another department has only one side so far.
SELECT source, count() AS uses, toString(toStartOfMonth(min(first))) AS since
FROM
(
    SELECT source, corrects, min(occurred_at) AS first
    FROM usage
    WHERE kind = 'adjustment' AND tags['reassigned'] != ''
    GROUP BY source, corrects
    HAVING countIf(tags['reassigned'] = 'in') != countIf(tags['reassigned'] = 'out')
)
GROUP BY source
ORDER BY source
