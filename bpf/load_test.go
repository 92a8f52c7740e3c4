package bpf
import ("testing";"errors";"fmt"; "github.com/cilium/ebpf")
func TestLoad(t *testing.T){
 s,err:=LoadDatapath(); if err!=nil{t.Fatal(err)}
 c,err:=ebpf.NewCollectionWithOptions(s, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
 var ve *ebpf.VerifierError
 if errors.As(err,&ve){ fmt.Printf("%+v\n",ve); t.Fatal() }
 if err!=nil{t.Fatal(err)}
 for n,p:=range c.Programs{ fmt.Println(n,p.VerifierLog)}
}
