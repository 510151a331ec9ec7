package render

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableEscapes makes the terminal understand escape sequences and reports
// whether it does. Consoles before Windows 10 do not.
func enableEscapes(f *os.File) bool {
	handle := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(handle, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(handle, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
