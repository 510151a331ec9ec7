package records

import "context"

// Check reads all records and returns what is wrong with them, a line each.
func (db *DB) Check(ctx context.Context) []string {
	problems := db.ask(ctx, "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok' LIMIT 20")
	return append(problems, db.ask(ctx,
		`SELECT 'a row of ' || "table" || ' points to a row of ' || parent || ' that does not exist' FROM pragma_foreign_key_check LIMIT 20`)...)
}

// ask returns the lines that a query gives; an error is one of them.
func (db *DB) ask(ctx context.Context, query string) (lines []string) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return []string{db.Explain(err).Error()}
	}
	defer rows.Close() //nolint:errcheck // Err tells
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return append(lines, err.Error())
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		lines = append(lines, db.Explain(err).Error())
	}
	return lines
}
