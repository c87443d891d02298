package kafka

// shareApis are the API keys of share groups, at the versions Apache Kafka 4.1 serves: those whose version 0 was an early access begin at 1.
func shareApis() []*api {
	return []*api{
		{name: "ShareGroupHeartbeat", key: 76, min: 1, max: 1, mayWait: true, brief: true, later: typedLater(beginShareGroupHeartbeat)},
		{name: "ShareGroupDescribe", key: 77, min: 1, max: 1, mayWait: true, handle: typed(handleShareGroupDescribe)},
		{name: "ShareFetch", key: 78, min: 1, max: 1, mayWait: true, answer: answerShareFetch},
		{name: "ShareAcknowledge", key: 79, min: 1, max: 1, mayWait: true, handle: typed(handleShareAcknowledge)},
		{name: "InitializeShareGroupState", key: 83, min: 0, max: 0, handle: typed(handleInitializeShareGroupState)},
		{name: "ReadShareGroupState", key: 84, min: 0, max: 0, handle: typed(handleReadShareGroupState)},
		{name: "WriteShareGroupState", key: 85, min: 0, max: 0, handle: typed(handleWriteShareGroupState)},
		{name: "DeleteShareGroupState", key: 86, min: 0, max: 0, handle: typed(handleDeleteShareGroupState)},
		{name: "ReadShareGroupStateSummary", key: 87, min: 0, max: 0, handle: typed(handleReadShareGroupStateSummary)},
		{name: "DescribeShareGroupOffsets", key: 90, min: 0, max: 0, mayWait: true, handle: typed(handleDescribeShareGroupOffsets)},
		{name: "AlterShareGroupOffsets", key: 91, min: 0, max: 0, mayWait: true, handle: typed(handleAlterShareGroupOffsets)},
		{name: "DeleteShareGroupOffsets", key: 92, min: 0, max: 0, mayWait: true, handle: typed(handleDeleteShareGroupOffsets)},
	}
}
