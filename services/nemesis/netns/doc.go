// Package netns is a small network of Linux network namespaces: hosts on one bridge, each of which can be kept from reaching another, in
// one direction, without either noticing anything but silence.
//
// Enter puts the program itself into namespaces of its own (network, mounts, processes), so that nothing of the machine is touched and nothing is
// left when it ends, however it ends. A packet is lost by giving its destination, in the sender's table of neighbours, a hardware
// address that nobody has: this needs no packet filter and no kernel module.
package netns
