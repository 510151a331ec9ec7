// Package snapshot keeps the file-system states that steps end in.
//
// In: directories of changes that a finished step left. Out: immutable layers,
// stacked under names (snapshots), and for each running step the mounts that
// fork it from its parent, as data. It never mounts anything and never runs a
// command.
//
// A layer is a directory of changes in overlayfs's format (whiteouts are 0/0
// character devices, opaque directories carry the attribute
// user.overlay.opaque) with two trees: "root" is the file system of the image,
// "workspace" is what steps changed under /workspace. A snapshot is a list of
// layers. A fork costs the same for every size of the parent, a commit is a
// rename, and a step that changed nothing adds no layer.
package snapshot
