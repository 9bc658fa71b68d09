-- Fewer, larger merges: the sink inserts a few times a second, and merging two or three small parts at a time would
-- write every row again three times within its first minute. A question reads a few dozen parts as fast as one.
ALTER TABLE usage MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE usage_hourly MODIFY SETTING min_parts_to_merge_at_once = 10;
ALTER TABLE usage_daily MODIFY SETTING min_parts_to_merge_at_once = 10;
