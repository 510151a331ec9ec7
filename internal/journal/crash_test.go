package journal_test

const crashEnv = "STRATA_JOURNAL_CRASH"

func writeUntilKilled(string) {}
