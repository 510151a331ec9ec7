package cache

import (
	"bytes"
	"compress/flate"
	"slices"
	"testing"

	"github.com/strata-ci/strata/internal/plan"
)

func TestInputsComeBack(t *testing.T) {
	list := []plan.Input{{Path: "a/b", Mode: 0o100644}, {Path: "a\nü", Mode: 0o120777}, {Path: "", Mode: 0}}
	list[1].Digest[31] = 7
	data, err := encodeInputs(list)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeInputs(data)
	if err != nil || !slices.Equal(got, list) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecodeInputs(f *testing.F) {
	for _, plain := range [][]byte{nil, {1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, bytes.Repeat([]byte{0}, 37), append([]byte{1, 'a'}, make([]byte, 36)...)} {
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		var data bytes.Buffer
		w, err := flate.NewWriter(&data, flate.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		list, err := decodeInputs(data.Bytes())
		if err != nil {
			return
		}
		again, err := encodeInputs(list)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeInputs(again); err != nil || !slices.Equal(back, list) {
			t.Errorf("%+v became %+v, %v", list, back, err)
		}
		if _, err := decodeInputs(plain); err == nil && len(plain) == 0 {
			t.Error("nothing at all is taken for a list")
		}
	})
}
