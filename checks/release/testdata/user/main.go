// A program of somebody who uses the modules: it makes a code, and would share its token.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxredis"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// record is told of the scan.
var record = func(*wxqrcode.Event) error { return nil }

func main() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // never asked
	defer rdb.Close()
	var store wxqrcode.TokenStore = wxredis.NewTokenStore(rdb)
	srv := wxtest.NewServer()
	defer srv.Close()
	code, err := srv.Client().Create(context.Background(), wxqrcode.Temporary(wxqrcode.SceneStr("desk-7"), time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	event, err := wxqrcode.ParseEvent(fmt.Appendf(nil, `<xml><ToUserName>gh_account</ToUserName><FromUserName>o-visitor</FromUserName>
		<CreateTime>%d</CreateTime><MsgType>event</MsgType><Event>SCAN</Event><EventKey>desk-7</EventKey><Ticket>%s</Ticket></xml>`,
		time.Now().Unix(), code.Ticket))
	if err != nil {
		log.Fatal(err)
	}
	if err := record(event); err != nil {
		log.Fatal(err)
	}
	scene, _ := event.SceneKey()
	fmt.Printf("a program made a code, heard of the scan of %s, and has a %T\n", scene, store)
}
