"""Who is served, when and where: the ledger of capacity, the queue, workers, batches of segments."""
