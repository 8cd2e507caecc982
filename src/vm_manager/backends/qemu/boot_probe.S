/* A boot sector that does what a boot does, and says how far it came: a letter for each step, on the debug console (port 0xe9).
 *
 * vmctl runs boot_probe.bin, which is made of this:
 *     as --64 -o boot_probe.o boot_probe.S
 *     ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o boot_probe.bin boot_probe.o
 * A test compares the two. What the letters mean: boot_probe.py.
 *
 * Sources: Intel SDM volume 3, the chapters on interrupts, on processor management and initialization, on multiple-processor
 * management and on the APIC; the Enhanced Disk Drive specification for int 0x13.
 *
 * Memory: 0x7c00 this code, of which 0x8000 is where the second processor starts; 0x10000 page tables; 0x17000 interrupt
 * descriptors; 0x18000 the page that is faulted in.
 */
        .intel_syntax noprefix

        .set DEBUG_CONSOLE, 0xe9
        .set DEBUG_EXIT, 0xf4
        .set PML4, 0x10000
        .set PDPT, 0x11000
        .set PD_LOW, 0x12000            /* 0 to 1 GiB, as it is */
        .set PD_HIGH, 0x13000           /* 3 to 4 GiB, as it is: the local APIC */
        .set PD_FAULT, 0x14000          /* 1 to 2 GiB: nothing is there at first */
        .set PT_FAULT, 0x15000
        .set IDT, 0x17000
        .set FAULTED, 0x18000
        .set FAULT_AT, 0x40000000
        .set APIC, 0xfee00000
        .set EFER, 0xc0000080
        .set MAGIC, 0x626f6f74

        .set CODE32, 0x08
        .set DATA, 0x10
        .set CODE64, 0x18
        .set CODE16, 0x20

        .macro SAY letter
        mov     al, \letter
        out     DEBUG_CONSOLE, al
        .endm

        /* What each processor does on its way up: first this, in real mode … */
        .macro ENTER_PROTECTED_MODE
        lgdt    [gdt_pointer]          /* DS is 0 */
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        ljmp    CODE32, offset 1f
        .code32
1:      mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        .endm

        /* … and then this; goes on at `to`, which is 64-bit code. */
        .macro ENTER_LONG_MODE to
        mov     eax, cr4
        or      eax, 1 << 5             /* PAE */
        mov     cr4, eax
        mov     eax, PML4
        mov     cr3, eax
        mov     ecx, EFER
        rdmsr
        or      eax, 1 << 8             /* LME */
        wrmsr
        mov     eax, cr0
        or      eax, 0x80000000         /* PG */
        mov     cr0, eax
        ljmp    CODE64, offset \to
        .endm

        .code16
        .globl  _start
_start:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        ljmp    0, offset in_real_mode
in_real_mode:
        mov     [drive], dl
        SAY     'r'
        sti
        call    read_rest
        jc      stop
        cmp     dword ptr [second_part], MAGIC
        jne     stop
        SAY     'b'
        jmp     enter
stop:   cli
        hlt
        jmp     stop

read_rest:
        mov     ah, 0x42                /* extended read */
        mov     dl, [drive]
        mov     si, offset packet
        int     0x13
        ret

drive:  .byte   0
        .balign 4
packet: .byte   16, 0
        .word   3                       /* sectors */
        .word   0x7e00, 0               /* to */
        .quad   1                       /* from */

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      /* CODE32 */
        .quad   0x00cf92000000ffff      /* DATA */
        .quad   0x00af9a000000ffff      /* CODE64 */
        .quad   0x00009a000000ffff      /* CODE16 */
        .quad   0x000092000000ffff      /* DATA16 */
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
idt_pointer:
        .word   33 * 16 - 1
        .long   IDT, 0
real_idt_pointer:
        .word   0x3ff
        .long   0

        .org    510
        .word   0xaa55
second_part:
        .long   MAGIC

enter:
        cli
        ENTER_PROTECTED_MODE
        mov     esp, 0x7c00
        SAY     'p'

        /* Page tables. */
        mov     edi, PML4
        xor     eax, eax
        mov     ecx, (FAULTED - PML4) / 4
        rep stosd
        mov     dword ptr [PML4], PDPT + 3
        mov     dword ptr [PDPT], PD_LOW + 3
        mov     dword ptr [PDPT + 8], PD_FAULT + 3
        mov     dword ptr [PDPT + 24], PD_HIGH + 3
        mov     dword ptr [PD_FAULT], PT_FAULT + 3
        mov     edi, PD_LOW
        mov     eax, 0x83               /* present, writable, 2 MiB */
        call    fill
        mov     edi, PD_HIGH
        mov     eax, 0xc0000083
        call    fill
        ENTER_LONG_MODE in_long_mode

fill:   mov     ecx, 512
1:      mov     [edi], eax
        add     eax, 0x200000
        add     edi, 8
        loop    1b
        ret

        .org    0x400                   /* 0x8000 */
        .code16
second_processor:
        cli
        xor     ax, ax
        mov     ds, ax
        ENTER_PROTECTED_MODE
        ENTER_LONG_MODE second_in_long_mode
        .code64
second_in_long_mode:
        lock inc dword ptr [awake]
1:      hlt
        jmp     1b

in_long_mode:
        SAY     'l'

        mov     eax, 1
        cpuid
        mov     [features], ecx
        SAY     'c'

        mov     ecx, 0x1b               /* IA32_APIC_BASE */
        rdmsr
        bt      eax, 11                 /* enabled */
        jnc     stop64
        mov     ecx, EFER
        rdmsr
        bt      eax, 10                 /* LMA */
        jnc     stop64
        SAY     'm'

        /* Descriptors for a page fault and for the timer. */
        mov     eax, offset page_fault
        mov     edi, IDT + 14 * 16
        call    gate
        mov     eax, offset timer
        mov     edi, IDT + 32 * 16
        call    gate
        lidt    [idt_pointer]

        mov     dword ptr [FAULTED], MAGIC
        mov     eax, FAULT_AT
        cmp     dword ptr [rax], MAGIC
        jne     stop64
        cmp     dword ptr [faults], 1
        jne     stop64
        SAY     'f'

        /* On a page that was a page table just now, as kernels reuse them; a KVM without the processor's help may have to
         * emulate the instruction there. */
        mov     qword ptr [PD_FAULT], 0
        mov     rax, cr3
        mov     cr3, rax
        bt      dword ptr [features], 13
        jnc     1f
        mov     edi, PT_FAULT + 32
        call    exchange
        mov     edi, FAULTED + 32
        call    exchange
1:      SAY     'x'

        /* The timer's interrupt, by the old controller, at vector 32. */
        mov     bl, 0x20
        mov     bh, 0xfe
        call    set_controller
        mov     al, 0x34                /* counter 0, rate generator */
        out     0x43, al
        mov     al, 1193 & 0xff         /* every millisecond */
        out     0x40, al
        mov     al, 1193 >> 8
        out     0x40, al
1:      sti
        hlt
        cli
        cmp     dword ptr [ticks], 3
        jb      1b
        SAY     't'

        /* INIT and start-up IPI, to all but this one. */
        mov     esi, APIC
        mov     dword ptr [rsi + 0xf0], 0x1ff
        mov     dword ptr [rsi + 0x300], 0xc4500
        call    delivered
        mov     dword ptr [ticks], 0
1:      sti                             /* 10 milliseconds lie between them */
        hlt
        cli
        cmp     dword ptr [ticks], 10
        jb      1b
        mov     dword ptr [rsi + 0x300], 0xc4608
        call    delivered
1:      pause
        cmp     dword ptr [awake], 0
        je      1b
        SAY     's'

        /* Back to where the firmware can be called. */
        mov     bl, 0x08
        mov     bh, 0xb8
        call    set_controller
        mov     al, 0x36
        out     0x43, al
        xor     al, al
        out     0x40, al
        out     0x40, al
        push    CODE32
        push    offset in_compatibility_mode
        retfq

stop64: cli
        hlt
        jmp     stop64

gate:   mov     word ptr [rdi], ax
        mov     word ptr [rdi + 2], CODE64
        mov     word ptr [rdi + 4], 0x8e00
        shr     eax, 16
        mov     word ptr [rdi + 6], ax
        ret

exchange:
        xor     eax, eax
        xor     edx, edx
        mov     [rdi], rax
        mov     [rdi + 8], rax
        mov     ebx, 1
        mov     ecx, 2
        lock cmpxchg16b [rdi]
        jne     stop64
        cmp     dword ptr [rdi + 8], 2
        jne     stop64
        ret

        /* bl: the first vector; bh: the mask of the first controller. */
set_controller:
        mov     al, 0x11
        out     0x20, al
        out     0xa0, al
        mov     al, bl
        out     0x21, al
        mov     al, 0x70
        out     0xa1, al
        mov     al, 4
        out     0x21, al
        mov     al, 2
        out     0xa1, al
        mov     al, 1
        out     0x21, al
        out     0xa1, al
        mov     al, bh
        out     0x21, al
        mov     al, 0xff
        out     0xa1, al
        ret

delivered:
        pause
        bt      dword ptr [rsi + 0x300], 12
        jc      delivered
        ret

page_fault:
        push    rax
        inc     dword ptr [faults]
        mov     qword ptr [PT_FAULT], FAULTED + 3
        mov     rax, cr2
        invlpg  [rax]
        pop     rax
        add     rsp, 8                  /* the error code */
        iretq

timer:  push    rax
        inc     dword ptr [ticks]
        mov     al, 0x20
        out     0x20, al
        pop     rax
        iretq

        .balign 4
features: .long 0
faults: .long   0
ticks:  .long   0
awake:  .long   0

        .code32
in_compatibility_mode:
        mov     ax, DATA
        mov     ss, ax
        mov     ds, ax
        mov     es, ax
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax
        mov     ecx, EFER
        rdmsr
        and     eax, ~(1 << 8)
        wrmsr
        ljmp    CODE16, offset in_small_segments
        .code16
in_small_segments:
        mov     ax, CODE16 + 8
        mov     ss, ax
        mov     ds, ax
        mov     es, ax
        lidt    [real_idt_pointer]
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        ljmp    0, offset in_real_mode_again
in_real_mode_again:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        mov     dword ptr [second_part], 0
        call    read_rest
        jc      1f
        cmp     dword ptr [second_part], MAGIC
        jne     1f
        SAY     'B'
        mov     al, 0x10
        out     DEBUG_EXIT, al
1:      jmp     stop

        .org    2048
