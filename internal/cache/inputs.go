package cache

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/strata-ci/strata/internal/plan"
)

const (
	// maxInputs bounds a list of inputs, in bytes, before it is compressed: a
	// workspace has at most 2,000,000 entries.
	maxInputs = 512 << 20
	maxPath   = 64 << 10
)

// encodeInputs compresses a list of inputs: for each the length of its path, the
// path, the mode and the digest.
func encodeInputs(list []plan.Input) ([]byte, error) {
	var plain []byte
	for _, in := range list {
		plain = binary.AppendUvarint(plain, uint64(len(in.Path)))
		plain = append(plain, in.Path...)
		plain = binary.BigEndian.AppendUint32(plain, in.Mode)
		plain = append(plain, in.Digest[:]...)
	}
	if len(plain) > maxInputs {
		return nil, nil // too long to explain anything
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(plain)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// decodeInputs reads what encodeInputs writes.
func decodeInputs(data []byte) ([]plan.Input, error) {
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), maxInputs+1))
	if err != nil {
		return nil, fmt.Errorf("read a list of inputs: %w", err)
	}
	if len(plain) > maxInputs {
		return nil, errors.New("read a list of inputs: it is too long")
	}
	var list []plan.Input
	for len(plain) > 0 {
		var in plan.Input
		size, n := binary.Uvarint(plain)
		if n <= 0 || size > maxPath || uint64(len(plain)-n) < size+4+uint64(len(in.Digest)) {
			return nil, errors.New("read a list of inputs: it is cut off")
		}
		plain = plain[n:]
		in.Path, plain = string(plain[:size]), plain[size:]
		in.Mode, plain = binary.BigEndian.Uint32(plain), plain[4:]
		plain = plain[copy(in.Digest[:], plain):]
		list = append(list, in)
	}
	return list, nil
}
