// Package kafkatools runs the command line tools that come with Apache Kafka for tests, all of a test in one process of Java: starting
// one takes two seconds of a processor, which a tool by itself does not. Each tool has a class loader of its own (Tools.java), so that
// nothing is left of the one before.
//
// It needs a JDK and Kafka's jars, and leaves getting them to services/conformance/kafka.sh.
package kafkatools
