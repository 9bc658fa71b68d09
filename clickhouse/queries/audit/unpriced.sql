-- Models whose usage has no price, the most used first; what was priced later has been taken back in sum.
SELECT provider, model, sum(unpriced_requests) AS requests
FROM usage
WHERE unpriced_requests != 0
GROUP BY provider, model
HAVING requests > 0
ORDER BY requests DESC, provider, model
