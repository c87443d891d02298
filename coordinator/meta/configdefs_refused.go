package meta

// refusedBrokerConfigs are broker settings of Apache Kafka 4.1 that mean nothing here, by the reason with which they are refused. They are not
// described. A setting that is also defined is not refused: a definition wins.
var refusedBrokerConfigs = map[string][]string{
	"transactions are judged in one place: there is nothing to retry": {
		"add.partitions.to.txn.retry.backoff.max.ms", "add.partitions.to.txn.retry.backoff.ms",
	},
	"set on the command line of the node": {
		"advertised.listeners", "broker.rack", "inter.broker.listener.name", "listeners", "log.dir", "log.dirs",
		"queued.max.request.bytes", "queued.max.requests", "request.timeout.ms", "socket.connection.setup.timeout.max.ms",
		"socket.connection.setup.timeout.ms", "socket.listen.backlog.size", "socket.receive.buffer.bytes", "socket.send.buffer.bytes",
	},
	"there are no plug-ins": {
		"alter.config.policy.class.name", "client.quota.callback.class", "create.topic.policy.class.name",
	},
	"a node has one data directory: there is nothing to move": {
		"alter.log.dirs.replication.quota.window.num", "alter.log.dirs.replication.quota.window.size.seconds",
	},
	"listeners do not authenticate clients": {
		"authorizer.class.name", "connection.failed.authentication.delay.ms", "connections.max.reauth.ms",
		"delegation.token.expiry.check.interval.ms", "delegation.token.expiry.time.ms", "delegation.token.max.lifetime.ms",
		"delegation.token.secret.key", "principal.builder.class", "sasl.client.callback.handler.class", "sasl.enabled.mechanisms",
		"sasl.jaas.config", "sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin",
		"sasl.kerberos.principal.to.local.rules", "sasl.kerberos.service.name", "sasl.kerberos.ticket.renew.jitter",
		"sasl.kerberos.ticket.renew.window.factor", "sasl.login.callback.handler.class", "sasl.login.class",
		"sasl.login.connect.timeout.ms", "sasl.login.read.timeout.ms", "sasl.login.refresh.buffer.seconds",
		"sasl.login.refresh.min.period.seconds", "sasl.login.refresh.window.factor", "sasl.login.refresh.window.jitter",
		"sasl.login.retry.backoff.max.ms", "sasl.login.retry.backoff.ms", "sasl.mechanism.controller.protocol",
		"sasl.mechanism.inter.broker.protocol", "sasl.oauthbearer.assertion.algorithm", "sasl.oauthbearer.assertion.claim.aud",
		"sasl.oauthbearer.assertion.claim.exp.seconds", "sasl.oauthbearer.assertion.claim.iss",
		"sasl.oauthbearer.assertion.claim.jti.include", "sasl.oauthbearer.assertion.claim.nbf.seconds",
		"sasl.oauthbearer.assertion.claim.sub", "sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.private.key.file",
		"sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.assertion.template.file",
		"sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.credentials.client.secret",
		"sasl.oauthbearer.clock.skew.seconds", "sasl.oauthbearer.expected.audience", "sasl.oauthbearer.expected.issuer",
		"sasl.oauthbearer.jwks.endpoint.refresh.ms", "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
		"sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "sasl.oauthbearer.jwks.endpoint.url",
		"sasl.oauthbearer.jwt.retriever.class", "sasl.oauthbearer.jwt.validator.class", "sasl.oauthbearer.scope",
		"sasl.oauthbearer.scope.claim.name", "sasl.oauthbearer.sub.claim.name", "sasl.oauthbearer.token.endpoint.url",
		"sasl.server.callback.handler.class", "sasl.server.max.receive.size", "security.providers",
	},
	"there are no thread pools to size": {
		"background.threads", "delete.records.purgatory.purge.interval.requests", "fetch.purgatory.purge.interval.requests",
		"num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir", "producer.purgatory.purge.interval.requests",
		"share.fetch.purgatory.purge.interval.requests",
	},
	"the cluster runs on the metadata log, not on a KRaft quorum; see the command line of the node": {
		"broker.heartbeat.interval.ms", "broker.id", "broker.session.timeout.ms", "controller.listener.names",
		"controller.quorum.append.linger.ms", "controller.quorum.bootstrap.servers", "controller.quorum.election.backoff.max.ms",
		"controller.quorum.election.timeout.ms", "controller.quorum.fetch.timeout.ms", "controller.quorum.request.timeout.ms",
		"controller.quorum.retry.backoff.ms", "controller.quorum.voters", "controller.socket.timeout.ms", "early.start.listeners",
		"initial.broker.registration.timeout.ms", "metadata.log.dir", "metadata.log.max.record.bytes.between.snapshots",
		"metadata.log.max.snapshot.interval.ms", "metadata.log.segment.bytes", "metadata.log.segment.ms",
		"metadata.max.idle.interval.ms", "metadata.max.retention.bytes", "metadata.max.retention.ms", "node.id",
	},
	"not a setting of Varve yet": {
		"transaction.two.phase.commit.enable",
	},
	"groups are coordinated by the leader of the metadata log": {
		"group.coordinator.append.linger.ms", "group.coordinator.threads",
	},
	"metrics are exported for Prometheus": {
		"kafka.metrics.polling.interval.secs", "kafka.metrics.reporters", "metric.reporters", "metrics.num.samples",
		"metrics.recording.level", "metrics.sample.window.ms",
	},
	"there are no replica sets, and nothing is replicated from node to node": {
		"leader.imbalance.check.interval.seconds", "num.replica.alter.log.dirs.threads", "num.replica.fetchers",
		"replica.fetch.backoff.ms", "replica.fetch.max.bytes", "replica.fetch.min.bytes", "replica.fetch.response.max.bytes",
		"replica.fetch.wait.max.ms", "replica.high.watermark.checkpoint.interval.ms", "replica.lag.time.max.ms",
		"replica.selector.class", "replica.socket.receive.buffer.bytes", "replica.socket.timeout.ms", "replication.quota.window.num",
		"replication.quota.window.size.seconds",
	},
	"compaction is a job of the tiering workers: see their command line": {
		"log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size", "log.cleaner.io.buffer.load.factor", "log.cleaner.io.buffer.size",
		"log.cleaner.io.max.bytes.per.second", "log.cleaner.threads",
	},
	"records of all partitions share one log on a node: there are no files of a partition": {
		"log.dir.failure.timeout.ms", "log.flush.offset.checkpoint.interval.ms", "log.flush.scheduler.interval.ms",
		"log.flush.start.offset.checkpoint.interval.ms",
	},
	"the same in milliseconds is what can be set": {},
	"the coordinator is a state machine on the metadata log: there is nothing to load, to replicate or to sweep on a timer": {
		"offsets.commit.timeout.ms", "offsets.load.buffer.size", "offsets.retention.check.interval.ms",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms", "transaction.remove.expired.transaction.cleanup.interval.ms",
	},
	"what Kafka keeps in a topic is in the metadata log here": {
		"offsets.topic.compression.codec", "offsets.topic.num.partitions", "offsets.topic.replication.factor",
		"offsets.topic.segment.bytes", "share.coordinator.append.linger.ms", "share.coordinator.load.buffer.size",
		"share.coordinator.snapshot.update.records.per.snapshot", "share.coordinator.state.topic.compression.codec",
		"share.coordinator.state.topic.min.isr", "share.coordinator.state.topic.num.partitions",
		"share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.segment.bytes", "share.coordinator.threads",
		"share.coordinator.write.timeout.ms", "transaction.state.log.load.buffer.size", "transaction.state.log.min.isr",
		"transaction.state.log.num.partitions", "transaction.state.log.replication.factor", "transaction.state.log.segment.bytes",
	},
	"tiering is the workers' own work, and has no plug-ins": {
		"remote.fetch.max.wait.ms", "remote.list.offsets.request.timeout.ms", "remote.log.index.file.cache.total.size.bytes",
		"remote.log.manager.copier.thread.pool.size", "remote.log.manager.copy.max.bytes.per.second",
		"remote.log.manager.copy.quota.window.num", "remote.log.manager.copy.quota.window.size.seconds",
		"remote.log.manager.expiration.thread.pool.size", "remote.log.manager.fetch.max.bytes.per.second",
		"remote.log.manager.fetch.quota.window.num", "remote.log.manager.fetch.quota.window.size.seconds",
		"remote.log.manager.task.interval.ms", "remote.log.manager.thread.pool.size", "remote.log.metadata.custom.metadata.max.bytes",
		"remote.log.metadata.manager.class.name", "remote.log.metadata.manager.class.path", "remote.log.metadata.manager.impl.prefix",
		"remote.log.metadata.manager.listener.name", "remote.log.reader.max.pending.tasks", "remote.log.reader.threads",
		"remote.log.storage.manager.class.name", "remote.log.storage.manager.class.path", "remote.log.storage.manager.impl.prefix",
	},
	"listeners are without encryption": {
		"ssl.allow.dn.changes", "ssl.allow.san.changes", "ssl.cipher.suites", "ssl.client.auth", "ssl.enabled.protocols",
		"ssl.endpoint.identification.algorithm", "ssl.engine.factory.class", "ssl.key.password", "ssl.keymanager.algorithm",
		"ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.password", "ssl.keystore.type",
		"ssl.principal.mapping.rules", "ssl.protocol", "ssl.provider", "ssl.secure.random.implementation",
		"ssl.trustmanager.algorithm", "ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.password",
		"ssl.truststore.type",
	},
}
