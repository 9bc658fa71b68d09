-- Which version of the directory filled in what the events of a block left out; 0: nobody was in it.
ALTER TABLE blocks ADD COLUMN IF NOT EXISTS directory_version Int64 DEFAULT 0 CODEC(T64, ZSTD(1)) AFTER price_version;
