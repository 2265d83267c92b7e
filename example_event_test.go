package wxqrcode_test

import (
	"fmt"
	"log"

	"github.com/seed-0142d113/wxqrcode"
)

// From a push to the scene of the code that was scanned.
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
		fmt.Println(event.OpenID, "is a new follower by", scene)
	case event.Type == wxqrcode.EventSubscribe:
		fmt.Println(event.OpenID, "is a new follower")
	case event.Type == wxqrcode.EventScan:
		fmt.Println(event.OpenID, "scanned", scene)
	case event.Type == wxqrcode.EventUnsubscribe:
		fmt.Println(event.OpenID, "must be forgotten")
	}
	// Output:
	// o7Lp5t6n59DeX3U0C7Kric9qEx-Q is a new follower by poster-7
}

// What tells one event from another. A program that stores scans itself uses it as the
// key under which it does, so that none is stored twice; package callback does so for
// the time in which a push may be repeated.
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
	for _, second := range []int{1389684286, 1389684286, 1389684290} { // the second is WeChat's repeat of the first
		event := scan(second)
		stored[event.DedupKey()] = event.OpenID
	}
	fmt.Println(len(stored), "scans")
	// Output:
	// 2 scans
}
