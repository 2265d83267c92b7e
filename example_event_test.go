package wxqrcode_test

import (
	"fmt"
	"log"

	"github.com/seed-0142d113/wxqrcode"
)

// A program that receives pushes by itself verifies the signature first and then
// parses the event. Package callback does both.
func ExampleParseEvent() {
	const push = `<xml><ToUserName><![CDATA[gh_45072270791c]]></ToUserName>
<FromUserName><![CDATA[o7Lp5t6n59DeX3U0C7Kric9qEx-Q]]></FromUserName>
<CreateTime>1389684286</CreateTime><MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[subscribe]]></Event><EventKey><![CDATA[qrscene_poster-7]]></EventKey>
<Ticket><![CDATA[gQHi8DoAAAA=]]></Ticket></xml>`

	event, err := wxqrcode.ParseEvent([]byte(push))
	if err != nil {
		log.Fatal(err)
	}
	scene, fromCode := event.SceneKey()
	switch {
	case event.Type == wxqrcode.EventSubscribe && fromCode:
		fmt.Println(event.OpenID, "is a new follower, from", scene)
	case event.Type == wxqrcode.EventSubscribe:
		fmt.Println(event.OpenID, "is a new follower")
	case event.Type == wxqrcode.EventScan:
		fmt.Println(event.OpenID, "scanned", scene)
	case event.Type == wxqrcode.EventUnsubscribe:
		fmt.Println("delete the personal data of", event.OpenID)
	}
	// Output:
	// o7Lp5t6n59DeX3U0C7Kric9qEx-Q is a new follower, from poster-7
}

// A program that stores scans uses DedupKey as the primary key, so that a
// redelivered push is not stored twice. Package callback deduplicates for as long
// as WeChat may redeliver a push.
func ExampleEvent_DedupKey() {
	scan := func(second int) *wxqrcode.Event {
		event, err := wxqrcode.ParseEvent(fmt.Appendf(nil, `{"ToUserName":"gh_45072270791c","FromUserName":"o-ann",`+
			`"CreateTime":%d,"MsgType":"event","Event":"SCAN","EventKey":"desk-7"}`, second))
		if err != nil {
			log.Fatal(err)
		}
		return event
	}
	stored := map[string]string{}
	for _, second := range []int{1389684286, 1389684286, 1389684290} { // the second is a redelivery of the first
		event := scan(second)
		stored[event.DedupKey()] = event.OpenID
	}
	fmt.Println(len(stored), "scans")
	// Output:
	// 2 scans
}
