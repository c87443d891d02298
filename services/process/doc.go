// Package process holds what every process of Varve has, whatever its roles: logs, metrics and the status listener, the bucket
// and the identity of the cluster it belongs to, the bus, and the internal listener and client. The roles (services/*d) are
// wired onto it.
//
// What is there or is not (ports, directories, rights) ends the start at once, with the setting's name. What comes and goes (a bucket that
// throttles or is not up yet, NATS) is waited for, with one line in the log.
package process
