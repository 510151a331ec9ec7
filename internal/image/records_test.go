package image

import (
	"context"
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
