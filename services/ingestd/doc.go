// Package ingestd wires an ingest node: hot log, lanes, reader and Kafka listener over a replica of the metadata.
package ingestd
