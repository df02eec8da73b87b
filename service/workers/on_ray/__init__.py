"""Workers on the machines of a Ray cluster. Only imported where UNMINGLE_RAY_ADDRESS asks for it: it imports Ray."""
