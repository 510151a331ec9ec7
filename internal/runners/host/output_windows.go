package host

import "os"

// readNow reads to the pipe's end: it comes, because the job's end has closed
// all other handles of the pipe.
func readNow(f *os.File, buf []byte) (int, error) { return f.Read(buf) }
