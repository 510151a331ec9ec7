// Package snapshot keeps the file-system states that steps end in, for as long
// as the process lives that made them.
//
// In: directories of changes that a finished step left. Out: immutable layers,
// stacked under names (snapshots), and for each running step the directories
// that fork it from its parent, as data. It never mounts anything and never
// runs a command. It is told at most once about a layer: nobody changes one.
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
