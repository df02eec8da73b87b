"""Who is served, when and where: slots for requests, the queue, workers, batches of segments."""
