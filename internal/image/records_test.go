package image

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-ci/strata/internal/records"
)

func openRecords(t testing.TB, dir string, opts records.Options) Digests {
	t.Helper()
	db, err := records.Open(dir, opts)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return Records(db)
}

func TestRecordsRemember(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d := openRecords(t, dir, records.Options{})
	want := func(d Digests, path, stamp, digest string) {
		t.Helper()
		got, err := d.Get(ctx, path, []byte(stamp))
		if err != nil || string(got) != digest {
			t.Errorf("%s with the stamp %s: got %q, %v, want %q", path, stamp, got, err, digest)
		}
	}
	want(d, "/a", "1", "")
	must(t, d.Put(ctx, "/a", []byte("1"), []byte("one")), d.Put(ctx, "/b", []byte("1"), []byte("other")))
	want(d, "/a", "1", "one")
	want(d, "/a", "2", "")
	must(t, d.Put(ctx, "/a", []byte("2"), []byte("two")))
	want(d, "/a", "1", "")
	want(openRecords(t, dir, records.Options{}), "/a", "2", "two")
	want(openRecords(t, dir, records.Options{ReadOnly: true}), "/b", "1", "other")
}

func TestDamagedRecordsAreToldOfOnce(t *testing.T) {
	dir := t.TempDir()
	d := openRecords(t, dir, records.Options{})
	for i := range 300 { // more than one page
		must(t, d.Put(context.Background(), fmt.Sprint("/file", i), []byte("1"), []byte("digest")))
	}
	db, err := records.Open(dir, records.Options{})
	must(t, err)
	_, err = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, err)
	var page, size int64
	must(t, db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = 'digests'").Scan(&page), db.QueryRow("PRAGMA page_size").Scan(&size), db.Close())
	f, err := os.OpenFile(records.Path(dir), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, size), (page-1)*size)
	must(t, err, f.Close())
	d = openRecords(t, dir, records.Options{})
	if _, err := Host(context.Background(), d, nil); !records.IsDamaged(err) {
		t.Fatalf("the error is %v", err)
	}
	if parts := hostParts(t, d); len(parts) == 0 {
		t.Error("without the records there is no identity")
	}
}

func TestReadOnlyRecordsAreNotWrittenTo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	d := openRecords(t, dir, records.Options{ReadOnly: true})
	must(t, d.Put(context.Background(), "/a", []byte("1"), []byte("one")))
	first := hostParts(t, d)
	if again := hostParts(t, openRecords(t, dir, records.Options{ReadOnly: true})); !maps.Equal(first, again) {
		t.Errorf("a second look gives %v, want %v", again, first)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the state directory was made")
	}
}

func BenchmarkHostWithRecords(b *testing.B) {
	digests := openRecords(b, b.TempDir(), records.Options{})
	for b.Loop() {
		if _, err := Host(context.Background(), digests, nil); err != nil {
			b.Fatal(err)
		}
	}
}
