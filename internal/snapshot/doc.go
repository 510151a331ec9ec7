// Package snapshot keeps the file-system states that steps end in: for as long
// as the process lives that made them, or, once they are kept, until somebody
// removes them.
//
// In: directories of changes that a finished step left. Out: immutable layers,
// stacked under names (snapshots), and for each running step the directories
// that fork it from its parent, as data. It never mounts anything and never
// runs a command. It is told at most once about a layer: nobody changes one.
//
// All processes have their layers in one directory. What a process has not kept
// belongs to it alone, and is removed with it: by itself, or after a kill by the
// next one that opens the store. What is kept belongs to the records, and any
// process may start from it or remove it; a layer that a process uses is locked,
// and is removed after that. A layer is on the disk before it is recorded, and
// its record goes before it does, so that no record is ever without its data.
//
// A layer has two trees: "root" is the file system of the image, "workspace" is
// what steps changed under /workspace. There are two ways to keep them:
//
//   - [Fork]: a layer is a directory of changes in overlayfs's format (whiteouts
//     are 0/0 character devices, opaque directories carry the attribute
//     user.overlay.opaque), and a snapshot is a list of layers. A fork costs the
//     same for every size of the parent, a commit is a rename, and a step that
//     changed nothing adds no layer.
//   - [Copy]: a layer is the whole tree, and a snapshot is one layer. It works on
//     every file system, and a fork costs what the parent's files cost to copy.
//
// A store holds snapshots of one of them.
package snapshot
